"""Sphinx extension: lists of facts, equations and comparisons, with their tests."""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import holds
import pages
from docutils import nodes
from holds import FACT, Equation, Test, words
from pages import FACTS, PACKAGE, ROOT
from rows import markdown
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole


@cache
def holders() -> dict[str, list[Test]]:
    """For each name in a marker: the tests that verify it."""
    found = defaultdict(list)
    for test in pages.tests():
        for name in dict.fromkeys(test.holds):
            found[name].append(test)
    return found


def table(widths: str, *rows: tuple[str, ...]) -> str:
    """A table in Markdown, the head first; a cell may have several paragraphs."""
    lines = [f":::{{list-table}}\n:header-rows: 1\n:widths: {widths}\n:class: parity\n"]
    for row in rows:
        first, *others = (cell.replace("\n", "\n    ") for cell in row)
        lines += [f"* - {first}", *(f"  - {cell}" for cell in others)]
    return "\n".join([*lines, ":::\n"])


def listed(tests: list[Test]) -> str:
    """A list of tests; those of tests/parity with their file, because names repeat there."""
    peers = {
        test: f" ({words(test.path.stem)})"
        for test in tests
        if test.path.parent.name == "parity"
    }
    return "\n".join(f"- {pages.link_to_test(test)}{peers.get(test, '')}" for test in tests)


class TestRole(SphinxRole):
    """{test}`name in words <file>`: a link to a test; the file only if names repeat."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Warn if there is no such test, or more than one."""
        name, file = re.fullmatch(r"(.+?)(?: <(.+)>)?", self.text).groups("")
        named = [test for test in pages.tests() if test.sentence == name]
        named = [test for test in named if test.path.as_posix().endswith(f"{file}.py")]
        text = nodes.inline("", name)
        if len(named) != 1:
            files = ", ".join(pages.title_of(test.path) for test in named) or "no file"
            message = f"{{test}}: expected one test {name!r}, found in {files}"
            return [text], [self.inliner.reporter.warning(message, line=self.lineno)]
        target = [pages.docname_of(named[0].path), f"L-{named[0].line}"]
        return [pages.reference("annotated-line", target, text)], []


class Generated(SphinxDirective):
    """Markdown generated from the package and its tests."""

    def text(self) -> str:
        """The Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Generated again whenever one of its sources changed."""
        for path in [*PACKAGE.files.values(), *ROOT.glob("tests/**/*.py"), FACTS]:
            self.env.note_dependency(path)
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)


class HeldFacts(Generated):
    """```{held-facts}```: every fact with its tests, in the order of the list."""

    def text(self) -> str:
        """One row for each fact."""
        rows = [
            (fact, listed(holders()[FACT + name])) for name, fact in holds.facts(FACTS).items()
        ]
        return table("50 50", ("fact", "verified by"), *rows)


class HeldEquations(Generated):
    """```{held-equations}```: every displayed equation with its tests, by package."""

    def text(self) -> str:
        """One row for each definition that displays equations."""
        packages: dict[str, dict[str, list[Equation]]] = {}
        for each in holds.equations(PACKAGE):
            package = ".".join(each.module.split(".")[:2])
            packages.setdefault(package, {}).setdefault(each.marker, []).append(each)
        return "\n".join(
            f"### {pages.heading(PACKAGE.files[package])}\n\n"
            + table(
                "100",
                ("equation, and the tests that verify it",),
                *map(self.row, defined.values()),
            )
            for package, defined in packages.items()
        )

    def row(self, shown: list[Equation]) -> tuple[str]:
        """The name, linked to its row of the annotated source, the equations, the tests."""
        parts = [pages.link_to_row(shown[0].module, shown[0].name)]
        parts += [f"$$ {each.formula} $$" for each in shown]
        return ("\n\n".join([*parts, listed(holders()[shown[0].marker])]),)


class Comparisons(Generated):
    """```{comparisons}```: what tests/parity compares, test by test, with its tolerance."""

    def text(self) -> str:
        """One row for each file, described by its docstring."""
        rows = [
            (
                f"{pages.link(path, path.name)}\n\n{markdown(pages.docstring(path))}",
                self.closeness(path),
            )
            for path in sorted((ROOT / "tests/parity").glob("test_*.py"))
        ]
        return table(
            "45 55",
            ("comparison", "tests, with the difference allowed"),
            *rows,
        )

    def closeness(self, path: Path) -> str:
        """The tests of a file, each with its tolerance or the range of several."""
        lines = []
        for test in (test for test in pages.tests() if test.path == path):
            ends = dict.fromkeys(test.tolerances[:1] + test.tolerances[-1:])
            sizes = " to ".join(ends).replace("-", "\N{NON-BREAKING HYPHEN}")
            lines.append(f"- {pages.link_to_test(test)}" + (f": {sizes}" if sizes else ""))
        return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_role("test", TestRole())
    app.add_directive("held-facts", HeldFacts)
    app.add_directive("held-equations", HeldEquations)
    app.add_directive("comparisons", Comparisons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
