r"""Plots the distance to the exact solution over the network evaluations, by sampler.

Maps       rows of {sampler, spacing, evaluations, rms}  ->  PNG
Tests      tests/evaluation/test_convergence_plot.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labml_sd.training.progress import new_figure

# Colours that colour-blind readers can tell apart, and a different marker for each sampler.
STYLES = {
    "ddim": ("#000000", "o", "-"),
    "euler": ("#E69F00", "x", "--"),  # equals DDIM, so its line is dashed
    "plms": ("#009E73", "s", "-"),
    "lms": ("#56B4E9", "D", "-"),
    "heun": ("#CC79A7", "^", "-"),
    "dpm_2": ("#882255", "v", "-"),
    "dpmpp_2m": ("#D55E00", "*", "-"),
    "unipc": ("#0072B2", "P", "-"),
}
TICKS = (5, 10, 20, 50, 100)


def draw_convergence(rows: list[dict[str, Any]], spacings: Sequence[str], path: Path) -> None:
    """Write a log-log plot for each spacing. Only warns without matplotlib."""
    figure = new_figure((5 * len(spacings), 5), 120, "the errors are not plotted")
    if figure is None:
        return
    plots = figure.subplots(1, len(spacings), sharey=True, squeeze=False)[0]
    for spacing, axes in zip(spacings, plots, strict=True):
        for name, (colour, marker, line) in STYLES.items():
            points = sorted(
                (row["evaluations"], row["rms"])
                for row in rows
                if (row["sampler"], row["spacing"]) == (name, spacing)
            )
            if points:
                style = {"color": colour, "marker": marker, "linestyle": line}
                axes.plot(*zip(*points, strict=True), **style, markersize=7, label=name)
        axes.set(xscale="log", yscale="log", title=f"spacing {spacing}")
        axes.set_xlabel("network evaluations")
        axes.set_xticks(TICKS, [str(n) for n in TICKS])
        axes.set_xticks([], minor=True)
        axes.grid(which="both", alpha=0.25)
    plots[0].set_ylabel("RMS distance of the latent to the exact solution")
    lines = plots[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=8, frameon=False)
    figure.savefig(path)
