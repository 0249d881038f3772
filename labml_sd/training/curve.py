r"""The learning curve as a table and as a plot.

Maps       rows of {step, loss, ...}  ->  CSV, PNG
Tests      tests/training/test_curve.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

BLUE, SKY = "#0072B2", "#56B4E9"  # of Okabe and Ito's palette for colour-blind readers
WINDOW = 20  # the smoothed line is a mean over 1/20 of the curve


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Write one line of CSV for every row of the curve."""
    if not curve:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(curve[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in curve)


def draw_curve(curve: list[dict[str, float]], title: str, path: Path) -> None:
    """Plot the loss over the steps, raw and smoothed. Only warns without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = (
            "the loss is not plotted: matplotlib is missing; pip install 'labml_sd[train]'"
        )
        warnings.warn(message, stacklevel=2)
        return
    if not curve:
        return
    steps, loss = (np.array([row[key] for row in curve]) for key in ("step", "loss"))
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, loss, color=SKY, linewidth=0.8, label="loss")
    axes.plot(steps, smoothed(loss), color=BLUE, linewidth=2.0, label="smoothed")
    axes.set(xlabel="step", ylabel="loss (log scale)", yscale="log", title=title)
    axes.grid(which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path)


def smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The mean of each value and its neighbours in a window that is cut at both ends."""
    n, half = len(values), len(values) // WINDOW // 2 + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(n) - half, 0)
    last = np.minimum(np.arange(n) + half + 1, n)
    means: Float[np.ndarray, " n"] = (sums[last] - sums[first]) / (last - first)
    return means
