r"""A folder of wildcards: `__colour__` stands for a line of colour.txt.

Maps       folder -> names, and the entries of each
           parts with wildcards, folder -> parts whose wildcards are choices among the entries
Reference  the text files that the extension sd-dynamic-prompts documents
Tests      tests/prompt_tools/test_wildcards.py
"""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import translate
from os import PathLike
from pathlib import Path

from labml_sd.errors import PromptError, quoted
from labml_sd.prompt_tools.syntax import (
    MAX_DEPTH,
    Choice,
    Option,
    Parts,
    Wildcard,
    parse_entry,
)

MAX_BYTES = 2**24  # of one file
_LISTED = 20  # names in an error


class Wildcards:
    """The text files of a folder and of the folders in it.

    One entry a line; lines that are empty or begin with # are skipped. The name of a file is
    its path in the folder without `.txt`, with `/` between folders. A file is read when it is
    first asked for. PromptError for what is not a folder.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        try:
            self.folder = Path(folder).expanduser()
            paths = sorted(self.folder.rglob("*.txt")) if self.folder.is_dir() else None
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            raise PromptError(
                f"wildcards is {quoted(folder)}: give a folder of text files ({error})"
            ) from error
        if paths is None:
            raise PromptError(f"{folder} is not a folder: give a folder of text files")
        self._paths = {
            path.relative_to(self.folder).with_suffix("").as_posix(): path
            for path in paths
            if path.is_file()
        }
        self._read: dict[str, tuple[Option, ...]] = {}
        self._bound: dict[str, Choice] = {}

    @property
    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(self._paths)

    def entries(self, name: str) -> tuple[Option, ...]:
        """The entries of a file, or of all files that a name with `*` fits.

        PromptError, which lists what is there, if there is none.
        """
        if "*" in name:
            found = [*filter(re.compile(translate(name)).match, self.names)]
        else:
            found = [name] if name in self._paths else []
        if not found:
            raise PromptError(
                f"there is no wildcard {name!r} in {self.folder}: {_listed(self.names, name)}"
            )
        return tuple(option for each in found for option in self._file(each))

    def _file(self, name: str) -> tuple[Option, ...]:
        if name not in self._read:
            lines = _lines(self._paths[name])
            self._read[name] = tuple(parse_entry(line) for line in lines)
        return self._read[name]

    def choice(self, name: str, path: tuple[str, ...] = (), depth: int = 0) -> Choice:
        """One of the entries, with their wildcards bound; arguments as of `bound`."""
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise PromptError(f"wildcards contain one another: {cycle}; take one of them out")
        if name not in self._bound:
            options = bound_options(self.entries(name), self, (*path, name), depth)
            self._bound[name] = Choice(options)
        return self._bound[name]


def bound(
    parts: Parts, wildcards: Wildcards | None, path: tuple[str, ...] = (), depth: int = 0
) -> Parts:
    """The same with a choice for each wildcard.

    A choice whose only option is a wildcard is a choice of its entries: `{2$$__colour__}` gives
    two different ones. `path` holds the wildcards that lead here; `depth` counts them and the
    braces. PromptError for a wildcard that is not there, for a cycle, and for a depth over 64.
    """
    if depth > MAX_DEPTH:
        raise PromptError(too_deep())
    return tuple(_bound(part, wildcards, path, depth + 1) for part in parts)


def bound_options(
    options: Iterable[Option], wildcards: Wildcards | None, path: tuple[str, ...], depth: int
) -> tuple[Option, ...]:
    """`bound` for the parts of each option."""
    return tuple(
        Option(bound(option.parts, wildcards, path, depth), option.weight) for option in options
    )


def too_deep() -> str:
    """The message of an error."""
    return (
        f"braces and wildcards are nested more than {MAX_DEPTH} deep: use fewer inside others"
    )


def _bound(
    part: str | Wildcard | Choice,
    wildcards: Wildcards | None,
    path: tuple[str, ...],
    depth: int,
) -> str | Choice:
    if isinstance(part, str):
        return part
    if isinstance(part, Wildcard):
        if wildcards is None:
            raise PromptError(
                f"__{part.name}__ is a wildcard: give the folder with {part.name}.txt as "
                r"wildcards, or write \__ for text"
            )
        return wildcards.choice(part.name, path, depth)
    options = bound_options(part.options, wildcards, path, depth)
    only = part.options[0].parts
    if len(options) == 1 and len(only) == 1 and isinstance(only[0], Wildcard):
        entries = options[0].parts[0]
        assert isinstance(entries, Choice)
        options = entries.options
    return Choice(options, part.low, part.high, part.separator)


def _lines(path: Path) -> list[str]:
    """The entries of a file. PromptError if it cannot be read, or has none."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")  # Windows editors put a byte order mark first
    except UnicodeDecodeError as error:
        raise PromptError(f"{path}: is not UTF-8 text; save it as such") from error
    except OSError as error:
        raise PromptError(
            f"{path}: cannot be read ({os.strerror(error.errno or 0)})"
        ) from error
    if len(content) > MAX_BYTES:
        raise PromptError(f"{path}: is longer than {MAX_BYTES:,} bytes; divide it")
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise PromptError(f"{path}: has no entries; write one on each line")
    return entries


def _listed(names: Iterable[str], near: str) -> str:
    """What is there, the most similar names first."""
    there = list(names)
    close = get_close_matches(near, there, n=3)
    ordered = [*close, *(name for name in there if name not in close)]
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"there are {', '.join(ordered[:_LISTED])}{more}" if there else "it has no .txt file"
