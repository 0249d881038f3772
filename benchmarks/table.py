"""The table: one line for each pair of a cell; `*` marks the fastest of the others."""

from collections.abc import Iterable
from typing import Any

from pairs import column, ratios, spread

MATMUL = "matmul"
SPREAD = "median [min q1 q3]"
HEAD = (
    f"{'cell':38} {'against':30} {'ours, ' + SPREAD:>28} {'theirs':>28} {'ratio [q1 q3]':>18} "
    f"{'of matmul':>11} {'per second':>11}"
)


def spread_text(of: dict[str, float]) -> str:
    """Three digits each, in seconds or milliseconds."""
    times, unit = (1, "s") if of["median"] >= 1 else (1e3, "ms")
    median, *rest = (
        f"{times * of[key]:#.3g}".removesuffix(".") for key in ("median", "min", "q1", "q3")
    )
    return f"{median} {unit} [{' '.join(rest)}]"


def rivals(result: dict[str, Any]) -> list[str]:
    """The names of all runs but ours, the fastest first."""
    readings = result["readings"]
    names = [name for name in readings if name not in ("ours", MATMUL)]
    return sorted(names, key=lambda name: spread(column(readings[name]))["median"])


def share_of_matmul(result: dict[str, Any], name: str) -> float | None:
    """The share of the rate of a matrix product; operations are counted alike for all."""
    readings = result["readings"]
    if MATMUL not in readings:
        return None
    waited = ratios(column(readings[MATMUL]), column(readings[name]))["median"]
    return waited * result["flops"] / result["flops_of_matmul"]


def lines(result: dict[str, Any]) -> list[str]:
    """The lines of one cell."""
    ours = spread(column(result["readings"]["ours"]))
    name = result["cell"]
    rows = []
    for place, rival in enumerate(rivals(result)):
        row = f"{name:38} {rival + '*' * (place == 0):30} {spread_text(ours):>28}"
        rows.append(
            row + pair_text(result, rival) + f" {result['pictures'] / ours['median']:11.3g}"
        )
        name = ""
    return rows + extra_lines(result)


def pair_text(result: dict[str, Any], rival: str) -> str:
    """Theirs, the ratio, both shares of the rate of a matrix product."""
    ours, theirs = (column(result["readings"][name]) for name in ("ours", rival))
    ratio = ratios(ours, theirs)
    shares = [share_of_matmul(result, name) for name in ("ours", rival)]
    return (
        f" {spread_text(spread(theirs)):>28}"
        f" {'{median:.2f} [{q1:.2f} {q3:.2f}]'.format(**ratio):>18}"
        f" {' '.join('' if share is None else f'{share:5.0%}' for share in shares):>11}"
    )


def extra_lines(result: dict[str, Any]) -> list[str]:
    """The other quantities of a cell, such as memory: medians, ours first."""
    readings = result["readings"]
    keys = [key for key in readings["ours"][0] if key != "seconds"]
    contenders = ["ours", *rivals(result)]
    rows = []
    for key in keys:
        known = [
            (name, column(readings[name], key))
            for name in contenders
            if key in readings[name][0]
        ]
        medians = ", ".join(f"{name} {spread(values)['median']:.3g}" for name, values in known)
        rows.append(f"    {key.replace('_', ' ')}: {medians}")
    return rows


def whole(results: Iterable[dict[str, Any]]) -> list[str]:
    """The table of a run."""
    return [HEAD, *(line for result in results for line in lines(result))]
