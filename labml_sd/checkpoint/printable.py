r"""Texts from unknown files in an error: they may contain escape codes, or a megabyte.

Maps       text -> text without control characters, of at most 200 characters
Tests      tests/checkpoint/test_printable.py
"""

from labml_sd.errors import one_line

MAX_SHOWN = 200
MAX_NAME = 500  # characters; the longest name in an SD v1 file has 101


def shown(text: object) -> str:
    """The text with control characters escaped, cut if it is too long."""
    line = one_line(str(text)[: MAX_SHOWN + 1])
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 3]}..."


def is_plain_name(name: str) -> bool:
    """True for a name that can be shown as it is in a report or an error."""
    return len(name) <= MAX_NAME and name.isprintable()
