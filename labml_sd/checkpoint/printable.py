r"""Show a text out of a stranger's file in an error: it may hold line breaks, escape codes, or a megabyte.

Maps       text -> text without control characters, of at most 200 characters
Tests      tests/checkpoint/test_printable.py
"""

from labml_sd.errors import one_line

MAX_SHOWN = 200
MAX_NAME = 500  # the longest name in an SD v1 file has 101 characters


def shown(text: object) -> str:
    """Escape what is no printable character and cut what is too long."""
    line = one_line(str(text)[: MAX_SHOWN + 1])
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 3]}..."


def is_plain_name(name: str) -> bool:
    """True for a name that can be shown as it is, in a report or an error."""
    return len(name) <= MAX_NAME and name.isprintable()
