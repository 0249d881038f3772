"""Sphinx extension: what must be true, what is computed, what is compared; and the tests that hold it."""

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
    """Of each name in a marker: the tests that hold it."""
    found = defaultdict(list)
    for test in pages.tests():
        for name in dict.fromkeys(test.holds):
            found[name].append(test)
    return found


def table(widths: str, *rows: tuple[str, ...]) -> str:
    """As Markdown, the head first; what a cell says in several paragraphs stays in it."""
    lines = [f":::{{list-table}}\n:header-rows: 1\n:widths: {widths}\n:class: parity\n"]
    for row in rows:
        first, *others = (cell.replace("\n", "\n    ") for cell in row)
        lines += [f"* - {first}", *(f"  - {cell}" for cell in others)]
    return "\n".join([*lines, ":::\n"])


def listed(tests: list[Test]) -> str:
    """Tests, one below the other; names repeat among those that compare with peers, so their file is told."""
    peers = {
        test: f" ({words(test.path.stem)})"
        for test in tests
        if test.path.parent.name == "parity"
    }
    return "\n".join(f"- {pages.link_to_test(test)}{peers.get(test, '')}" for test in tests)


class TestRole(SphinxRole):
    """{test}`eta one is ddpm on the same levels`: a test by its name in words, linked to its line."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A name that no test has, or that two have, is a warning."""
        named = [test for test in pages.tests() if test.sentence == self.text]
        text = nodes.inline("", self.text)
        if len(named) != 1:
            files = ", ".join(pages.title_of(test.path) for test in named) or "no file"
            message = f"{{test}}: expected one test {self.text!r}, found in {files}"
            return [text], [self.inliner.reporter.warning(message, line=self.lineno)]
        target = [pages.docname_of(named[0].path), f"L-{named[0].line}"]
        return [pages.reference("annotated-line", target, text)], []


class Generated(SphinxDirective):
    """Markdown made of the package and its tests."""

    def text(self) -> str:
        """The Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """It is made anew when a file has changed that it may be made from."""
        for path in [*PACKAGE.files.values(), *ROOT.glob("tests/**/*.py"), FACTS]:
            self.env.note_dependency(path)
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)


class HeldFacts(Generated):
    """```{held-facts}```: every fact with its tests, in the order of the list."""

    def text(self) -> str:
        """A row is a fact."""
        rows = [
            (fact, listed(holders()[FACT + name])) for name, fact in holds.facts(FACTS).items()
        ]
        return table("50 50", ("fact", "held by"), *rows)


class HeldEquations(Generated):
    """```{held-equations}```: every displayed equation with its tests, room by room."""

    def text(self) -> str:
        """A row is a thing with its equations."""
        rooms: dict[str, dict[str, list[Equation]]] = {}
        for each in holds.equations(PACKAGE):
            room = ".".join(each.module.split(".")[:2])
            rooms.setdefault(room, {}).setdefault(each.thing, []).append(each)
        return "\n".join(
            f"### {pages.heading(PACKAGE.files[room])}\n\n"
            + table(
                "100",
                ("equation, and the tests that hold it",),
                *map(self.row, things.values()),
            )
            for room, things in rooms.items()
        )

    def row(self, shown: list[Equation]) -> tuple[str]:
        """The name, linked to its row of the annotated source, what it computes, and the tests."""
        parts = [pages.link_to_row(shown[0].module, shown[0].name)]
        parts += [f"$$ {each.formula} $$" for each in shown]
        return ("\n\n".join([*parts, listed(holders()[shown[0].thing])]),)


class Comparisons(Generated):
    """```{comparisons}```: what tests/parity compares with what, test by test, and how closely."""

    def text(self) -> str:
        """A row is a file, told by its own docstring."""
        rows = [
            (
                f"{pages.link(path, path.name)}\n\n{markdown(pages.docstring(path))}",
                self.closeness(path),
            )
            for path in sorted((ROOT / "tests/parity").glob("test_*.py"))
        ]
        return table(
            "45 55",
            ("what, and against what", "test by test, with the difference allowed"),
            *rows,
        )

    def closeness(self, path: Path) -> str:
        """Its tests, each with its tolerance or with the two ends of several."""
        lines = []
        for test in (test for test in pages.tests() if test.path == path):
            ends = dict.fromkeys(test.tolerances[:1] + test.tolerances[-1:])
            sizes = " to ".join(ends).replace("-", "\N{NON-BREAKING HYPHEN}")
            lines.append(f"- {pages.link_to_test(test)}" + (f": {sizes}" if sizes else ""))
        return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("test", TestRole())
    app.add_directive("held-facts", HeldFacts)
    app.add_directive("held-equations", HeldEquations)
    app.add_directive("comparisons", Comparisons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
