"""The table of the documentation, a line a cell: `python benchmarks/page.py RUN.json > table.md`."""

import json
import sys
from pathlib import Path
from typing import Any

from machine import line
from pairs import column, ratios, spread
from plot import compared
from table import share_of_matmul

HEAD = """| cell | ours | of diffusers' best | of diffusers as it comes | of labml_nn | of matmul's rate |
|---|---|---|---|---|---|"""


def seconds(value: float) -> str:
    """Three digits, in seconds or milliseconds."""
    return (
        f"{value:#.3g} s".replace(". ", " ")
        if value >= 1
        else f"{1e3 * value:#.3g} ms".replace(". ", " ")
    )


def ratio_text(result: dict[str, Any], rival: str | None) -> str:
    """The median of the ratios, with their quartiles; empty where there was no such rival."""
    if rival is None:
        return ""
    found = ratios(*(column(result["readings"][name]) for name in ("ours", rival)))
    return "**{median:.2f}** ({q1:.2f}-{q3:.2f})".format(**found)


def row(result: dict[str, Any]) -> str:
    """One cell."""
    rivals, share = compared(result), share_of_matmul(result, "ours")
    names = ("the best of diffusers", "diffusers as it comes", "labml_nn")
    columns = [ratio_text(result, rivals.get(name)) for name in names]
    ours = seconds(spread(column(result["readings"]["ours"]))["median"])
    return f"| {' | '.join([result['cell'], ours, *columns, '' if share is None else f'{share:.0%}'])} |"


def table(report: dict[str, Any]) -> str:
    """All cells, and the machine."""
    return "\n".join(
        [HEAD, *map(row, report["results"]), "", f"Machine: {line(report['machine'])}."]
    )


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
