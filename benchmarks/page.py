"""The table of the documentation: `python benchmarks/page.py RUN.json > table.md`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import line
from pairs import column, ratios, spread
from plot import COLOURS, compared
from table import share_of_matmul


def seconds(value: float) -> str:
    """Three digits, in seconds or milliseconds."""
    return (
        f"{value:#.3g} s".replace(". ", " ")
        if value >= 1
        else f"{1e3 * value:#.3g} ms".replace(". ", " ")
    )


def ratio_text(result: dict[str, Any], rival: str | None) -> str:
    """The median of the ratios with their quartiles; empty without this rival."""
    if rival is None:
        return ""
    found = ratios(*(column(result["readings"][name]) for name in ("ours", rival)))
    return "**{median:.2f}** ({q1:.2f}-{q3:.2f})".format(**found)


def row(result: dict[str, Any], names: list[str]) -> str:
    """One cell, with a column for each of these rivals."""
    rivals, share = compared(result), share_of_matmul(result, "ours")
    columns = [ratio_text(result, rivals.get(name)) for name in names]
    ours = seconds(spread(column(result["readings"]["ours"]))["median"])
    of_matmul = "" if share is None else f"{share:.0%}"
    return line_of([result["cell"], ours, *columns, of_matmul])


def line_of(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(report: dict[str, Any]) -> str:
    """All cells, with a column for every rival of the run, then the machine."""
    results = report["results"]
    names = [name for name in COLOURS if any(name in compared(one) for one in results)]
    columns = ["cell", "ours", *(f"of {name}" for name in names), "of matmul's rate"]
    return "\n".join(
        [
            line_of(columns),
            "|---" * len(columns) + "|",
            *(row(result, names) for result in results),
            "",
            f"Machine: {line(report['machine'])}.",
        ]
    )


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
