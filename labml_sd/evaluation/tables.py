r"""Tables, shares and sections in Markdown.

Maps       rows, shares, parts of evaluation.json  ->  Markdown
Tests      tests/evaluation/test_tables.py
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: dict[str, Any] | None) -> str:
    """A share and its interval in percent; a dash for None."""
    if share is None:
        return "-"
    return f"{100 * share['mean']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def sections_of(
    makers: Mapping[str, Callable[[Any], list[str]]], parts: Mapping[str, Any]
) -> list[str]:
    """The sections of the parts that were measured, in the order of their makers."""
    return [
        text
        for name, make in makers.items()
        if (part := parts.get(name))
        for text in make(part)
    ]
