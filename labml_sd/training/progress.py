r"""What a run shows of its progress: the learning curve as a table and a plot, and pictures.

Maps       rows of {step, loss, ...}  ->  CSV, PNG
           batches of images, or a matrix  ->  one PNG
Tests      tests/training/test_progress.py
"""

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

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
    figure = new_figure((7, 4), 100, "the loss is not plotted")
    if figure is None or not curve:
        return
    steps, loss = (np.array([row[key] for row in curve]) for key in ("step", "loss"))
    axes = figure.subplots()
    axes.plot(steps, loss, color=SKY, linewidth=0.8, label="loss")
    axes.plot(steps, smoothed(loss), color=BLUE, linewidth=2.0, label="smoothed")
    axes.set(xlabel="step", ylabel="loss (log scale)", yscale="log", title=title)
    axes.grid(which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path)


def new_figure(size: tuple[int, int], dpi: int, without: str) -> Any:
    """A figure of matplotlib of `size` inches; without matplotlib a warning, and None."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        advice = "matplotlib is missing; pip install 'labml_sd[train]'"
        warnings.warn(f"{without}: {advice}", stacklevel=3)
        return None
    return Figure(figsize=size, dpi=dpi, layout="constrained")


def smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The mean of each value and its neighbours in a window that is cut at both ends."""
    n, half = len(values), len(values) // WINDOW // 2 + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(n) - half, 0)
    last = np.minimum(np.arange(n) + half + 1, n)
    means: Float[np.ndarray, " n"] = (sums[last] - sums[first]) / (last - first)
    return means


def save_rows(rows: list[Float[Tensor, "b 3 h w"]], path: Path) -> None:
    """Write batches in [-1, 1] as the rows of one image."""
    grid = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    pixels = ((grid.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(path)


def save_heat(matrix: Float[Tensor, "n m"], path: Path, cell: int = 8) -> None:
    """Write a matrix as grey squares of `cell` pixels, the largest value white."""
    low, high = matrix.min(), matrix.max()
    pixels = ((matrix - low) / (high - low) * 255.0).round().to(torch.uint8).cpu()
    enlarged = pixels.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    Image.fromarray(enlarged.numpy()).save(path)
