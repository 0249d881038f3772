"""Which tests verify which equations and facts, read from the files with `ast`."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from names import Package, dotted_name
from rows import definitions, first_line, split

FACT = "fact: "  # prefix of facts in a marker; without it a marker names an equation
SKIPS = {"pytest.skip", "pytest.xfail", "pytest.importorskip"}


@dataclass(frozen=True)
class Equation:
    """A formula between double dollars, and what defines it: `GeGLU` of a module."""

    module: str
    name: str  # empty if it is in the docstring of the module
    formula: str

    @property
    def marker(self) -> str:
        """Its name in `pytest.mark.holds`."""
        return f"{self.module}.{self.name}".rstrip(".")


@dataclass(frozen=True)
class Test:
    """A test function, with its own markers and those of its class and file."""

    path: Path
    name: str
    line: int
    holds: tuple[str, ...]
    marks: frozenset[str]  # names of all markers, and "skip" if its file can skip at run time
    tolerances: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Its name in words."""
        return words(self.name.rpartition(".")[2])


def words(name: str) -> str:
    """The name of a test or of a test file, in words."""
    return name.removeprefix("test_").replace("_", " ")


def equations(package: Package) -> Iterator[Equation]:
    """Every displayed equation of a docstring or comment, in the order of the files."""
    for module, path in package.files.items():
        source = path.read_text("utf-8")
        if "$$" not in source:
            continue
        spans = [
            (name, first_line(node), node.end_lineno)
            for name, node in definitions(ast.parse(source))
        ]
        for note in [note for row in split(source) for note in row.notes]:
            around = [name for name, first, last in spans if first <= note.first <= last]
            text = without_code(note.text)
            for formula in re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL):
                yield Equation(module, around[-1] if around else "", " ".join(formula.split()))


def without_code(text: str) -> str:
    """A text without what is code in it: there, two dollars begin no equation."""
    return re.sub(r"`[^`\n]*`", "", text)


def facts(path: Path) -> dict[str, str]:
    """Facts by name."""
    return tomllib.loads(path.read_text("utf-8"))


def tests(folder: Path) -> list[Test]:
    """All tests below a folder, in the order of the files."""
    return [test for path in sorted(folder.rglob("test_*.py")) for test in tests_of(path)]


def tests_of(path: Path) -> Iterator[Test]:
    """The tests of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    defined = dict(definitions(tree))
    checks = {name: node for name, node in defined.items() if name.startswith("assert_")}
    skips = {dotted_name(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)} & SKIPS
    for name, node in defined.items():
        if not node.name.startswith("test_"):
            continue
        parts = name.split(".")
        around = [defined[".".join(parts[:n])] for n in range(1, len(parts) + 1)]
        given = [
            *file_marks(tree),
            *(mark for outer in around for mark in outer.decorator_list),
        ]
        calls = [
            (mark.func, mark.args) if isinstance(mark, ast.Call) else (mark, [])
            for mark in given
        ]
        marks = [(dotted_name(mark).removeprefix("pytest.mark."), args) for mark, args in calls]
        held = [
            ast.literal_eval(arg) for mark, args in marks if mark == "holds" for arg in args
        ]
        found = {mark for mark, _ in marks} | ({"skip"} if skips else set())
        yield Test(
            path,
            name,
            first_line(node),
            tuple(held),
            frozenset(found),
            tolerances(node, checks),
        )


def file_marks(tree: ast.Module) -> list[ast.expr]:
    """The markers in `pytestmark`."""
    given = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and dotted_name(node.targets[0]) == "pytestmark"
    ]
    return [
        mark
        for value in given
        for mark in (value.elts if isinstance(value, ast.List) else [value])
    ]


def tolerances(node: ast.AST, checks: dict[str, ast.AST]) -> tuple[str, ...]:
    """The tolerances of a test, else those of the check that it calls.

    "0" if it compares bits. Empty for a test that expects a difference.
    """
    compares = [each for each in ast.walk(node) if isinstance(each, ast.Compare)]
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
    called = {dotted_name(call.func) for call in calls}
    if any(isinstance(each.ops[0], ast.Gt) for each in compares):
        return ()
    given = [
        each.comparators[0] for each in compares if isinstance(each.ops[0], ast.Lt | ast.LtE)
    ]
    given += [
        word.value for call in calls for word in call.keywords if word.arg in ("rtol", "atol")
    ]
    given += [arg for call in calls if dotted_name(call.func) in checks for arg in call.args]
    if small := sizes(given):
        return small
    if called & {"torch.equal", "np.array_equal"}:
        return ("0",)
    return sizes([each for name in called & checks.keys() for each in ast.walk(checks[name])])


def sizes(nodes: list[ast.AST]) -> tuple[str, ...]:
    """The constants below 1e-4 among them, in order."""
    numbers = {each.value for each in nodes if isinstance(each, ast.Constant)}
    small = sorted(
        number for number in numbers if isinstance(number, float) and 0 < number < 1e-4
    )
    return tuple(f"{number:.0e}".replace("e-0", "e-") for number in small)
