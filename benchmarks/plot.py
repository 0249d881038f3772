"""The ratios of a run as bars: ours over theirs, by cell."""

from pathlib import Path
from typing import Any

from machine import line
from matplotlib.figure import Figure
from pairs import column, ratios
from table import rivals

COLOURS = {  # of the bars, and of the numbers in them
    "diffusers' best": ("#0072B2", "white"),
    "diffusers as it comes": ("#56B4E9", "black"),
    "OpenVINO": ("#009E73", "white"),
    "ONNX Runtime": ("#CC79A7", "black"),
    "labml_nn": ("#E69F00", "black"),
}


def compared(result: dict[str, Any]) -> dict[str, str]:
    """The rival that each bar of a cell shows."""
    names = rivals(result)
    theirs = [name for name in names if name.startswith("diffusers")]
    plain = [name for name in theirs if name in ("diffusers", "diffusers compiled")]
    bars = {
        "diffusers' best": theirs[:1],
        "diffusers as it comes": plain if len(theirs) > 1 else [],
        **{name: [name] for name in names if name in COLOURS},
    }
    return {bar: bars[bar][0] for bar in COLOURS if bars.get(bar)}


def draw(report: dict[str, Any], path: Path) -> None:
    """A group of bars for each cell, from top to bottom, with the quartiles of the ratios."""
    results = report["results"]
    figure = Figure(figsize=(9, 1.6 + 0.5 * len(results)), dpi=120, layout="constrained")
    axes = figure.subplots()
    seen = set()
    for place, result in enumerate(results):
        bars = compared(result)
        height = 0.8 / max(len(bars), 1)
        for i, (bar, rival) in enumerate(bars.items()):
            ratio = ratios(*(column(result["readings"][name]) for name in ("ours", rival)))
            at = place - 0.4 + height * (i + 0.5)
            whiskers = [[ratio["median"] - ratio["q1"]], [ratio["q3"] - ratio["median"]]]
            label = None if bar in seen else bar
            colour, ink = COLOURS[bar]
            axes.barh(
                at,
                ratio["median"],
                0.9 * height,
                color=colour,
                label=label,
                xerr=whiskers,
                ecolor="#555555",
            )
            axes.text(0.01, at, f"{ratio['median']:.2f}", va="center", fontsize=7, color=ink)
            seen.add(bar)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(
        xlabel="time of labml_sd over theirs: left of the line, labml_sd is faster",
        ylim=(len(results) - 0.4, -0.6),
    )
    axes.set_yticks(range(len(results)), [result["cell"] for result in results])
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.suptitle(line(report["machine"]), fontsize=7)
    figure.savefig(path)
