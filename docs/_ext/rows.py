"""Cut a Python file into rows: notes (docstrings, whole-line comments) and the code that they speak of."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from inspect import cleandoc

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FIELDS = re.compile(r"(Maps|Paper|Reference|Tests) {2,}(?=\S)")


@dataclass
class Note:
    """A docstring or a block of comments: its first and last line in the file, and its text."""

    first: int
    last: int
    text: str


@dataclass
class Row:
    """Neighbouring lines of a file, from `first` to `last`: each belongs to a note or to the code."""

    first: int
    last: int
    names: list[str] = field(
        default_factory=list
    )  # what is defined with a docstring or at the top level
    notes: list[Note] = field(default_factory=list)
    code: list[tuple[int, list[str]]] = field(
        default_factory=list
    )  # runs of lines: first line, texts


def split(source: str) -> list[Row]:
    """The rows of a file, in its order, without a gap."""
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
    """Decorators belong to what they decorate."""
    return min(
        [node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]
    )


def docstrings(tree: ast.Module, lines: list[str]) -> list[Note]:
    """All docstrings that have their lines for themselves."""
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
    """Blocks of whole-line comments: neighbours with the same indent are one."""
    found: list[Note] = []
    column = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line, indent = token.start
        if token.type != tokenize.COMMENT or token.line[:indent].strip():
            continue
        text = token.string.lstrip("#").removeprefix(" ")
        if found and found[-1].last == line - 1 and column == indent:
            found[-1] = Note(found[-1].first, line, f"{found[-1].text}\n{text}")
        else:
            found.append(Note(line, line, text))
        column = indent
    return found


def row_starts(tree: ast.Module, notes: list[Note]) -> set[int]:
    """Lines where something new begins: a definition with a note, what follows a definition, a comment."""
    documented = {note.first for note in notes}
    starts = {1, *documented}
    for node in [tree, *(node for _, node in definitions(tree))]:
        for before, here in zip([None, *node.body], node.body, strict=False):
            top = node is tree and isinstance(here, DEFINITIONS)
            if top or isinstance(before, DEFINITIONS):
                starts.add(first_line(here))
        if node.body[0].lineno in documented:
            if node is tree:  # the header stands alone, above the columns
                starts |= {stop.lineno for stop in tree.body[1:2]}
            else:  # the signature stands beside its docstring
                starts = starts - {node.body[0].lineno} | {first_line(node)}
    return starts


def without_comment_above(starts: set[int], notes: list[Note], lines: list[str]) -> list[int]:
    """The starts in order, less those that go on from a comment: it speaks of what comes below it."""
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
    """The lines of a row that are in no note, in pieces of neighbours."""
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
    """A module's docstring, parted: the prose, and the table Maps, Paper, Reference, Tests."""
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
        elif re.match(r"\S+ {2,}\S", paragraph):  # columns, aligned by hand
            prose.append("\n".join(["```text", *lines, "```"]))
        else:
            prose.append(paragraph)
    return "\n\n".join(prose), table


def markdown(text: str) -> str:
    """Text as Markdown: what is no markup is escaped (<key>, a*b). Formulas and code stay as they are."""
    parts = re.split(r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$)", text, flags=re.DOTALL)
    for index in range(0, len(parts), 2):
        part = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", parts[index])
        part = re.sub(r"(?<=\w)\*+(?=\w)", lambda stars: r"\*" * len(stars[0]), part)
        part = re.sub(r"(?<![-<])->", "→", part).replace("<->", "↔")
        parts[index] = re.sub(
            r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", part
        )
    return "".join(parts)
