"""Sphinx extension: a page for each module, its notes on the left and its code on the right."""

import re

import pages
from docutils import nodes
from holds import tests_of
from pages import PACKAGE, ROOT, docname_of, files_named, rows_of
from pygments.lexers.python import PythonLexer
from rows import Row, header, markdown, stacked
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode


class box(nodes.General, nodes.Element):
    """A plain <div>; themes style the class that the container of docutils adds."""


def code_block(first: int, lines: list[str]) -> list[nodes.Node]:
    """Code with the line numbers of its file; empty lines around it are dropped."""
    while lines and not lines[0].strip():
        first, lines = first + 1, lines[1:]
    text = "\n".join(lines).rstrip()
    options = {
        "language": "annotated-python",
        "linenos": True,
        "highlight_args": {"linenostart": first},
    }
    return [nodes.literal_block(text, text, force=True, **options)] if text else []


def linkable(env: BuildEnvironment, label: str, anchor: str) -> None:
    """Register an anchor, so -W checks links such as [](annotated/unet/attention.md#GeGLU)."""
    env.domains.standard_domain.anonlabels[label.lower()] = (env.docname, anchor)


def index(names: list[str], anchor: str) -> nodes.Node:
    """Index entries of classes in words: readers search for "cross attention"."""
    classes = [name for name in names if re.fullmatch(r"([A-Z][a-z]+){2,}", name)]
    words = [" ".join(re.findall("[A-Z][a-z]+", name)).lower() for name in classes]
    return addnodes.index(entries=[("single", text, anchor, "main", None) for text in words])


class AnnotatedSource(SphinxDirective):
    """```{annotated-source} labml_sd.unet.attention```: the rows of a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The header over both columns, then the rows."""
        self.module = self.arguments[0]
        self.env.note_dependency(PACKAGE.files[self.module])
        top, *rest = rows_of(self.module)
        prose, table = header(top.notes[0].text)
        head = box("", *self.parse(markdown(prose)), classes=["ann-head"], ids=["L1"])
        head += self.table(
            {key: self.linked(key, value) for key, value in table.items()} | self.links()
        )
        inner = pages.children(self.module) if self.module != PACKAGE.folder.name else []
        below = self.parse(pages.toctree(inner)) if inner else []
        return [head, box("", *map(self.row, rest), classes=["ann-rows"]), *self.in_c(), *below]

    def in_c(self) -> list[nodes.Node]:
        """The C file that the module compiles, as one block."""
        file = PACKAGE.files[self.module].with_suffix(".c")
        if not file.is_file():
            return []
        self.env.note_dependency(file)
        text = file.read_text(encoding="utf-8")
        code = nodes.literal_block(text, text, language="c", linenos=True)
        return [nodes.rubric("", file.name), box("", code, classes=["ann-c"])]

    def parse(self, text: str) -> list[nodes.Node]:
        """Markdown, as on every other page."""
        return self.parse_text_to_nodes(text, allow_section_headings=False)

    def linked(self, key: str, text: str) -> list[nodes.Node]:
        """A cell of the header's table, with links to the files that it names."""
        named = files_named(text, self.module) if key == "Tests" else {}
        text = re.sub(r"\bdocs/(\w+\.md)", r"[`\g<0>`](/\1)", markdown(text))
        for word, files in named.items():
            links = [pages.link(file, word if len(files) == 1 else file.name) for file in files]
            text = re.sub(
                rf"(?<![\w/]){re.escape(word)}(?![\w.])",
                lambda _, to=links: ", ".join(to),
                text,
            )
        return self.parse(text)

    def links(self) -> dict[str, list[nodes.Node]]:
        """Further lines of the table: files of a package, API entry, notebooks."""
        found = {}
        if files := pages.children(self.module):
            found["Files"] = self.parse(
                " · ".join(pages.link(f, pages.short(f)) for f in files)
            )
        packages = [self.module]
        while packages[-1].count(".") > 1:
            packages.append(packages[-1].rpartition(".")[0])
        described = re.findall(
            r"automodule:: (\S+)", (self.env.srcdir / "api.md").read_text("utf-8")
        )
        if entries := [name for name in packages if name in described]:
            entry = pages.reference("annotated-api", entries, nodes.literal("", entries[0]))
            found["API"] = [nodes.paragraph("", "", entry)]
        users = [f"notebooks/{name}" for name in pages.notebooks_of().get(self.module, [])]
        if users := [name for name in users if name in self.env.found_docs]:
            found["Notebooks"] = self.parse(" · ".join(f"[](/{name}.ipynb)" for name in users))
        return found

    def table(self, lines: dict[str, list[nodes.Node]]) -> nodes.Node:
        """Two columns: key and value."""
        group = nodes.tgroup("", nodes.colspec(colwidth=15), nodes.colspec(colwidth=85), cols=2)
        rows = [
            nodes.row("", nodes.entry("", nodes.paragraph(key, key)), nodes.entry("", *content))
            for key, content in lines.items()
        ]
        group += nodes.tbody("", *rows)
        return nodes.table("", group, classes=["ann-table"])

    def row(self, row: Row) -> nodes.Node:
        """Notes, then code: the order on a narrow screen and for a screen reader."""
        left = box(classes=["ann-note"])
        if row.notes and row.names:
            name = row.names[0]
            public = PACKAGE.public_names(self.module, name)
            entry = pages.reference("annotated-api", public, nodes.literal("", name))
            left += nodes.paragraph("", "", entry, classes=["ann-name"])
        for note in row.notes:
            left += self.parse(stacked(markdown(note.text)))
        right = box(classes=["ann-code"])
        for first, lines in row.code:
            right += code_block(first, lines)
        for name in row.names:
            linkable(self.env, f"{self.module}.{name}", name)
        anchor = f"L{row.first}"
        parts = [left, right, index(row.names, anchor)]
        inner = not row.names and any(lines[0].startswith(" ") for _, lines in row.code)
        classes = ["ann-row", "ann-step"] if inner else ["ann-row"]
        return box("", *parts, classes=classes, ids=[anchor, *row.names])


class AnnotatedFile(SphinxDirective):
    """```{annotated-file} tests/cli/test_main.py```: a file as it is, with its line numbers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One block with an anchor for each line; those of tests are registered."""
        path = ROOT / self.arguments[0]
        self.env.note_dependency(path)
        code = code_block(1, path.read_text("utf-8").splitlines())
        for block in code:
            block["highlight_args"]["linespans"] = "L"
        for test in tests_of(path):
            linkable(self.env, f"{self.arguments[0]}:{test.name}", f"L-{test.line}")
        return [box("", *code, classes=["ann-code", "ann-file"])]


class AnnotatedIndex(SphinxDirective):
    """```{annotated-index}```: every module with its first sentence, package by package."""

    def run(self) -> list[nodes.Node]:
        """A list for each package, and the tree of the menu."""
        root = PACKAGE.folder.name
        text = pages.toctree([PACKAGE.files[root], *pages.children(root)])
        for module, path in PACKAGE.files.items():
            if path.name == "__init__.py":
                files = [
                    path,
                    *(file for file in pages.children(module) if file.name != "__init__.py"),
                ]
                name = pages.heading(path)
                lines = (
                    f"- {pages.link(f, f.name)}: {pages.first_sentence(f)}\n" for f in files
                )
                text += f"\n## {name}\n\n" + "".join(lines)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def link_from_api(app: Sphinx, doctree: nodes.document) -> None:
    """Give each documented name a link to its row."""
    for signature in doctree.findall(addnodes.desc_signature):
        name = f"{signature.get('module')}.{signature.get('fullname')}"
        module, rest = PACKAGE.home(name)
        anchors = (
            {anchor for row in rows_of(module) for anchor in row.names} if module else set()
        )
        while rest and rest not in anchors:
            rest = rest.rpartition(".")[0]
        if rest:
            text = nodes.inline("", "[source]", classes=["viewcode-link"])
            signature += addnodes.only(
                "",
                pages.reference(
                    "annotated-line", [docname_of(PACKAGE.files[module]), rest], text
                ),
                expr="html",
            )


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Complete a link to an API entry or to a line of a generated page."""
    if node["reftype"] == "annotated-line":
        docname, anchor = node["candidates"]
        return make_refnode(app.builder, node["refdoc"], docname, anchor, content)
    if node["reftype"] == "annotated-api":
        objects = env.domains["py"].data
        for name in node["candidates"]:
            if entry := objects["objects"].get(name) or objects["modules"].get(name):
                return make_refnode(
                    app.builder, node["refdoc"], entry.docname, entry.node_id, content
                )
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    plain = (lambda self, node: None, lambda self, node: None)
    html = (
        lambda self, node: self.body.append(self.starttag(node, "div", suffix="")),
        lambda self, _: self.body.append("</div>\n"),
    )
    app.add_node(box, html=html, latex=plain, text=plain)
    # A separate language, so that no extension treats the pieces as complete programs.
    app.add_lexer("annotated-python", PythonLexer)
    app.add_directive("annotated-source", AnnotatedSource)
    app.add_directive("annotated-file", AnnotatedFile)
    app.add_directive("annotated-index", AnnotatedIndex)
    app.connect("builder-inited", lambda app: pages.write(app.srcdir))
    app.connect("doctree-read", link_from_api)
    app.connect("missing-reference", resolve)
    app.setup_extension("parity")
    app.add_css_file("annotated.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
