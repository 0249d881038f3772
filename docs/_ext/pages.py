"""The generated pages: one for each module of the package, one for each file of tests that is spoken of."""

import ast
import re
from functools import cache
from pathlib import Path

import holds
from docutils import nodes
from names import Package
from rows import Row, definitions, header, markdown, split
from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Package(ROOT / "labml_sd")
FACTS = ROOT / "docs/facts.toml"
FOLDER = "annotated"  # below the folder of the documentation; made anew from the source


@cache
def rows_of(module: str) -> list[Row]:
    """Each file is read once."""
    return split(PACKAGE.files[module].read_text("utf-8"))


@cache
def notebooks_of() -> dict[str, list[str]]:
    """Of each module: the notebooks that use it."""
    return PACKAGE.used_by(ROOT / "notebooks")


@cache
def tests() -> list[holds.Test]:
    """All tests of the package."""
    return holds.tests(ROOT / "tests")


def title_of(path: Path) -> str:
    """A file's name as its page's: below the package, or below the checkout."""
    return path.relative_to(
        PACKAGE.folder if PACKAGE.folder in path.parents else ROOT
    ).as_posix()


def heading(path: Path) -> str:
    """What stands above a module's page: a package is its folder."""
    return title_of(path).replace("__init__.py", "") or f"{PACKAGE.folder.name}/"


def docname_of(path: Path) -> str:
    """The page of a file."""
    return f"{FOLDER}/{title_of(path).removesuffix('.py')}"


def link(path: Path, text: str = "") -> str:
    """To the page of a file."""
    return f"[`{text or title_of(path)}`](/{docname_of(path)}.md)"


def link_to_row(module: str, name: str) -> str:
    """To the row of the annotated source where a name is defined; to the top of the page without one."""
    page = f"/{docname_of(PACKAGE.files[module])}.md"
    return (
        f"[`{name}`]({page}#{name})"
        if name
        else f"[`{title_of(PACKAGE.files[module])}`]({page})"
    )


def link_to_test(test: holds.Test) -> str:
    """To its place on the page of its file; its name in words."""
    return f"[{test.sentence}](/{docname_of(test.path)}.md#L-{test.line})"


def short(path: Path) -> str:
    """A file's name for a list; a package's ends with a slash."""
    return path.name if path.name != "__init__.py" else f"{path.parent.name}/"


def reference(kind: str, candidates: list[str], content: nodes.Node) -> nodes.Node:
    """A link that `resolve` (annotated_source.py) completes; plain text if its target is missing."""
    pending = addnodes.pending_xref(
        "", content, refdomain="", reftype=kind, refexplicit=True, refwarn=False
    )
    pending["reftarget"] = candidates[0]
    pending["candidates"] = candidates
    return pending


def toctree(paths: list[Path]) -> str:
    """Files as entries of the menu."""
    entries = "\n".join(f"{short(path)} </{docname_of(path)}>" for path in paths)
    return f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n" if paths else ""


def children(module: str) -> list[Path]:
    """The files and packages directly below a package."""
    depth = module.count(".") + 1
    below = [
        name
        for name in PACKAGE.files
        if name.startswith(f"{module}.") and name.count(".") == depth
    ]
    return [PACKAGE.files[name] for name in below]


def keywords(module: str) -> str:
    """The words inside of names, for the search: CrossAttention is found as cross attention."""
    tree = ast.parse(PACKAGE.files[module].read_text("utf-8"))
    names = [module, *(name for name, _ in definitions(tree))]
    words = re.split(r"(?<=[a-z0-9])(?=[A-Z])|[._]+", ".".join(names))
    return ", ".join(
        dict.fromkeys(word.lower() for word in words if word)
    )  # single words: each is a term


def files_named(text: str, module: str) -> dict[str, list[Path]]:
    """Words that are files or folders of tests, as seen from a module; a folder stands for its tests."""
    found = {}
    for word in re.findall(r"[\w/]+(?:\.py|/)", text):
        for base in (PACKAGE.files[module].parent, PACKAGE.folder, ROOT):
            path = base / word
            if path.is_file() or (word.startswith("tests/") and path.is_dir()):
                found[word] = [path] if path.is_file() else sorted(path.glob("test_*.py"))
                break
    return found


def docstring(path: Path) -> str:
    """What a file says of itself, whole."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def first_sentence(path: Path) -> str:
    """What a module says it is."""
    return markdown(rows_of(PACKAGE.dotted(path))[0].notes[0].text.partition("\n")[0])


def tests_spoken_of() -> set[Path]:
    """Files of tests that a module or a page names, that hold something, or that compare with a peer."""
    tables = {module: header(rows_of(module)[0].notes[0].text)[1] for module in PACKAGE.files}
    named = [files_named(table.get("Tests", ""), module) for module, table in tables.items()]
    found = {file for words in named for files in words.values() for file in files}
    found |= {test.path for test in tests() if test.holds}
    found |= set((ROOT / "tests/parity").glob("test_*.py"))
    text = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
    found |= {ROOT / name for name in re.findall(r"\(\.\./(tests/[\w/]+\.py)\)", text)}
    named = set(re.findall(r"\{test\}`([^`]+)`", text))
    return {path for path in found if path.is_file()} | {
        test.path for test in tests() if test.sentence in named
    }


def write(docs: Path) -> None:
    """A page for each module and each file of tests spoken of; what has not changed is left alone."""
    texts = {}
    for module, path in PACKAGE.files.items():
        texts[docname_of(path)] = (
            f'---\nmyst:\n  html_meta:\n    keywords: "{keywords(module)}"\n---\n\n# {heading(path)}\n\n'
            f"```{{annotated-source}} {module}\n```\n"
        )
    for test in tests_spoken_of():
        texts[
            docname_of(test)
        ] = (  # no word of it in the search: the modules are what is looked for
            f"---\norphan: true\nnosearch: true\n---\n\n# {title_of(test)}\n\n"
            f"```{{annotated-file}} {title_of(test)}\n```\n"
        )
    for old in (docs / FOLDER).rglob("*.md"):
        if old.relative_to(docs).with_suffix("").as_posix() not in texts:
            old.unlink()
    for docname, text in texts.items():
        page = docs / f"{docname}.md"
        if not page.exists() or page.read_text("utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
