"""Split a Python file into rows: notes (docstrings, whole-line comments) and their code."""

import ast
import io
import re
import tokenize
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import cleandoc

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# A shape like [b (h w) c]: words of which one is a letter; or [b], if a colon follows.
SHAPE = re.compile(
    r"\[(?=[^]]*\b\w\d?\b)[\w*/+().'-]+(?:(?: [\w*/+().'-]+)+\](?![(\[])|\](?=:))"
)
DIRECTIVE = re.compile(r"# *(ruff|noqa|mypy|type|fmt|pragma):")  # for tools, not for readers
FIELDS = re.compile(r"(Maps|Paper|Reference|Tests) {2,}(?=\S)")


@dataclass
class Note:
    """A docstring or a block of comments: first and last line in the file, and text."""

    first: int
    last: int
    text: str


@dataclass
class Row:
    """The lines `first` to `last` of a file, each part of a note or of the code."""

    first: int
    last: int
    names: list[str] = field(default_factory=list)  # of the definitions that start in the row
    notes: list[Note] = field(default_factory=list)
    # Consecutive lines of code: the number of the first line, and the lines.
    code: list[tuple[int, list[str]]] = field(default_factory=list)


def split(source: str) -> list[Row]:
    """The rows of a file, in order and without gaps."""
    lines = source.splitlines()
    tree = ast.parse(source)
    notes = sorted([*docstrings(tree, lines), *comments(source)], key=lambda note: note.first)
    names = {first_line(node): name for name, node in definitions(tree)}
    starts = without_comment_above(row_starts(tree, notes), notes, lines)
    rows = [
        Row(first, after - 1)
        for first, after in zip(starts, [*starts[1:], len(lines) + 1], strict=True)
    ]
    for row in rows:
        row.names = [
            name for line, name in sorted(names.items()) if row.first <= line <= row.last
        ]
        row.notes = [note for note in notes if row.first <= note.first <= row.last]
        row.code = runs(row, lines)
    return rows


def definitions(
    tree: ast.Module | Definition, prefix: str = ""
) -> list[tuple[str, Definition]]:
    """All classes and functions with their dotted names, outer ones first."""
    found = []
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            name = prefix + node.name
            found += [(name, node), *definitions(node, f"{name}.")]
    return found


def first_line(node: ast.stmt) -> int:
    """The first line of a definition with its decorators."""
    return min(
        [node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]
    )


def docstrings(tree: ast.Module, lines: list[str]) -> list[Note]:
    """All docstrings that share no line with code."""
    found = []
    for node in [tree, *(node for _, node in definitions(tree))]:
        if ast.get_docstring(node, clean=False) is None:
            continue
        text = node.body[0]
        alone = not lines[text.lineno - 1][: text.col_offset].strip()
        if alone and not lines[text.end_lineno - 1].encode()[text.end_col_offset :].strip():
            found.append(Note(text.lineno, text.end_lineno, cleandoc(text.value.value)))
    return found


def comments(source: str) -> list[Note]:
    """Blocks of whole-line comments: consecutive lines with the same indent are one note."""
    found: list[Note] = []
    column = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line, indent = token.start
        if token.type != tokenize.COMMENT or token.line[:indent].strip():
            continue
        if DIRECTIVE.match(token.string):
            continue
        text = token.string.lstrip("#").removeprefix(" ")
        if found and found[-1].last == line - 1 and column == indent:
            found[-1] = Note(found[-1].first, line, f"{found[-1].text}\n{text}")
        else:
            found.append(Note(line, line, text))
        column = indent
    return found


def row_starts(tree: ast.Module, notes: list[Note]) -> set[int]:
    """Lines where a row starts: a note, a top-level definition, code after a definition."""
    documented = {note.first for note in notes}
    starts = {1, *documented}
    for node in [tree, *(node for _, node in definitions(tree))]:
        for before, here in zip([None, *node.body], node.body, strict=False):
            top = node is tree and isinstance(here, DEFINITIONS)
            if top or isinstance(before, DEFINITIONS):
                starts.add(first_line(here))
        if node.body[0].lineno in documented:
            if node is tree:  # the docstring of the module is shown above the columns
                starts |= {stop.lineno for stop in tree.body[1:2]}
            else:  # the signature is shown beside the docstring
                starts = starts - {node.body[0].lineno} | {first_line(node)}
    return starts


def without_comment_above(starts: set[int], notes: list[Note], lines: list[str]) -> list[int]:
    """The starts in order, without those directly below a comment: it describes that code."""
    endings = {note.last for note in notes if lines[note.first - 1].lstrip().startswith("#")}
    kept = []
    for start in sorted(starts):
        above = start - 1
        while above > 0 and not lines[above - 1].strip():
            above -= 1
        if above not in endings:
            kept.append(start)
    return kept


def runs(row: Row, lines: list[str]) -> list[tuple[int, list[str]]]:
    """The lines of a row that are in no note, as runs of consecutive lines."""
    taken = {line for note in row.notes for line in range(note.first, note.last + 1)}
    found: list[tuple[int, list[str]]] = []
    for line in range(row.first, row.last + 1):
        if line in taken:
            continue
        if found and found[-1][0] + len(found[-1][1]) == line:
            found[-1][1].append(lines[line - 1])
        else:
            found.append((line, [lines[line - 1]]))
    return found


def header(text: str) -> tuple[str, dict[str, str]]:
    """Split the docstring of a module into prose and the table Maps ... Tests."""
    prose: list[str] = []
    table: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if FIELDS.match(paragraph):
            key = ""
            for line in lines:
                if match := FIELDS.match(line):
                    key = match[1]
                    table[key] = line[match.end() :]
                else:
                    table[key] += " " + line.strip()
        elif re.match(r"\S+ {2,}\S", paragraph):  # columns aligned by hand
            prose.append("\n".join(["```text", *lines, "```"]))
        else:
            prose.append(paragraph)
    return "\n\n".join(prose), table


def markdown(text: str) -> str:
    """A note as Markdown: shapes as code, papers as links, `<key>` and a*b escaped."""
    return in_prose(escaped, in_prose(lambda prose: SHAPE.sub(r"`\g<0>`", prose), text))


def stacked(text: str) -> str:
    r"""Displayed equations with \quad between parts: one part a line, for a narrow column."""
    return re.sub(r"`[^`\n]*`|\$\$(.+?)\$\$", one_below_the_other, text, flags=re.DOTALL)


def one_below_the_other(equation: re.Match[str]) -> str:
    """A displayed equation with a line for each of its parts."""
    parts = re.split(r"\\q?quad\b", equation[1] or "")  # "" for code
    if len(parts) == 1:
        return equation[0]
    return r"$$ \begin{gathered} " + r" \\ ".join(map(str.strip, parts)) + r" \end{gathered} $$"


def in_prose(change: Callable[[str], str], text: str) -> str:
    """Change what is neither code nor formula."""
    parts = re.split(r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$)", text, flags=re.DOTALL)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))


def escaped(prose: str) -> str:
    """Prose in which nothing is markup by accident."""
    prose = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", prose)
    prose = re.sub(r"(?<=\w)\*+(?=\w)", lambda stars: r"\*" * len(stars[0]), prose)
    prose = re.sub(r"(?<![-<])->", "→", prose).replace("<->", "↔")
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", prose)
