r"""The learning curve as a table and as a picture.

Maps       rows of {step, loss, ...}  ->  CSV, PNG
Tests      tests/training/test_curve.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

BLUE, SKY = "#0072B2", "#56B4E9"  # Okabe and Ito's palette: told apart by everybody
WINDOW = 20  # the smooth line is a mean over a twentieth of the curve


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Write one line for every row of the curve."""
    if not curve:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(curve[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in curve)


def draw_curve(curve: list[dict[str, float]], title: str, path: Path) -> None:
    """Draw the loss over the steps, raw and smooth. Without matplotlib there is a warning and no picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn(
            "no plot of the loss; for one: pip install 'labml_sd[train]'", stacklevel=2
        )
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
    """The mean of each value and its neighbours within the window; near the ends there are fewer of them."""
    n, half = len(values), len(values) // WINDOW // 2 + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(n) - half, 0)
    last = np.minimum(np.arange(n) + half + 1, n)
    means: Float[np.ndarray, " n"] = (sums[last] - sums[first]) / (last - first)
    return means
