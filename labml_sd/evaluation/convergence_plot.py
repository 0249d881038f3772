r"""The distance to the exact solution over the network evaluations, a line for each sampler.

Maps       rows of {sampler, spacing, evaluations, rms}  ->  PNG
Tests      tests/evaluation/test_convergence_plot.py
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Colours that everybody tells apart, and a mark of its own for each besides.
LOOKS = {
    "ddim": ("#000000", "o", "-"),
    "euler": ("#E69F00", "x", "--"),  # DDIM in other words: drawn over its line
    "plms": ("#009E73", "s", "-"),
    "lms": ("#56B4E9", "D", "-"),
    "heun": ("#CC79A7", "^", "-"),
    "dpm_2": ("#882255", "v", "-"),
    "dpmpp_2m": ("#D55E00", "*", "-"),
    "unipc": ("#0072B2", "P", "-"),
}
TICKS = (5, 10, 20, 50, 100)


def draw_convergence(rows: list[dict[str, Any]], spacings: Sequence[str], path: Path) -> None:
    """Draw a log-log plot for each spacing. Without matplotlib there is a warning and no picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn(
            "no plot of the samplers; for one: pip install 'labml_sd[train]'", stacklevel=2
        )
        return
    figure = Figure(figsize=(5 * len(spacings), 5), dpi=120, layout="constrained")
    plots = figure.subplots(1, len(spacings), sharey=True, squeeze=False)[0]
    for spacing, axes in zip(spacings, plots, strict=True):
        for name, (colour, mark, line) in LOOKS.items():
            of_both = [r for r in rows if (r["sampler"], r["spacing"]) == (name, spacing)]
            if of_both:
                n_asked, distances = zip(
                    *sorted((r["evaluations"], r["rms"]) for r in of_both), strict=True
                )
                axes.plot(
                    n_asked,
                    distances,
                    line,
                    color=colour,
                    marker=mark,
                    markersize=7,
                    label=name,
                )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="evaluations of the network",
            title=f"spacing {spacing}",
        )
        axes.set_xticks(TICKS, [str(n) for n in TICKS])
        axes.set_xticks([], minor=True)
        axes.grid(which="both", alpha=0.25)
    plots[0].set_ylabel("RMS distance of the latent to the exact solution")
    figure.legend(
        *plots[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=8,
        frameon=False,
    )
    figure.savefig(path)
