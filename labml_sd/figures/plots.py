r"""Curves, heat maps, and the boxes and arrows of diagrams.

Maps       numbers  ->  Picture
Tests      tests/figures/test_general.py
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from labml_sd.figures.picture import COLOURS, STYLE, Picture, from_figure
from labml_sd.training.progress import smoothed

Number = float | int
Numbers = Sequence[Number] | Tensor


@contextmanager
def axes(
    columns: int = 1, rows: int = 1, *, size: tuple[float, float] = (5.0, 3.0)
) -> Iterator[Any]:
    """A figure with `rows` x `columns` axes of `size` inches each, without pyplot's state."""
    with rc_context(STYLE):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)


@contextmanager
def diagram(
    size: tuple[float, float], x: tuple[Number, Number], y: tuple[Number, Number]
) -> Iterator[Any]:
    """A figure of `size` inches with one panel of these limits, without axes."""
    with axes(size=size) as (figure, ((panel,),)):
        panel.set(xlim=x, ylim=y)
        panel.set_axis_off()
        yield figure, panel


def box(
    panel: Any,
    x: Number,
    y: Number,
    width: float,
    height: float,
    *,
    rounding: float,
    **style: Any,
) -> None:
    """A box with round corners, around (x, y)."""
    corner, shape = (x - width / 2, y - height / 2), f"round,pad=0,rounding_size={rounding}"
    panel.add_patch(FancyBboxPatch(corner, width, height, shape, **style))


def arrow(
    panel: Any, start: Sequence[Number], end: Sequence[Number], zorder: int = 3, **style: Any
) -> None:
    """A straight arrow that touches both points."""
    line = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0} | style
    panel.annotate("", end, start, arrowprops=line, zorder=zorder)


def bare(panel: Any) -> None:
    """Without grid, ticks and lines at the sides; the labels of the ticks stay."""
    panel.grid(visible=False)
    panel.tick_params(length=0)
    panel.spines[["bottom", "left"]].set_visible(False)


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = False,
) -> Picture:
    """Named lines (x values, y values) in one plot; `x` and `y` label the axes."""
    with axes(size=(6.0, 3.4)) as (figure, ((panel,),)):
        for (name, (xs, ys)), colour in zip(lines.items(), cycle(COLOURS), strict=False):
            style = {"color": colour, "label": name, "marker": "o" if markers else ""}
            panel.plot(array(xs), array(ys), **style)
        panel.set(xlabel=x, ylabel=y)
        panel.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
        if any(lines):
            panel.legend()
        return from_figure(figure)


def learning_curve(steps: Numbers, loss: Numbers, *, marks: Sequence[Number] = ()) -> Picture:
    """The loss of every step, its running mean, and dotted lines at the steps in `marks`."""
    with axes(size=(6.4, 3.4)) as (figure, ((panel,),)):
        values, thick = array(loss), {"color": COLOURS[0], "linewidth": 2.0}
        panel.plot(steps, values, color=COLOURS[5], linewidth=0.8, label="loss of a step")
        panel.plot(steps, smoothed(values), **thick, label="running mean")
        for mark in marks:
            panel.axvline(mark, color=COLOURS[6], linewidth=1, linestyle=":")
        panel.set(xlabel="step", ylabel="loss, log scale", yscale="log")
        panel.legend()
        return from_figure(figure)


def heat_maps(
    maps: Mapping[str, Float[Tensor, "h w"]],
    *,
    x: str = "",
    y: str = "",
    columns: int = 0,
    signed: bool = False,
    scale: float = 2.2,
) -> Picture:
    """Matrices as colours, each with its own scale. `signed`: white is 0, blue negative."""
    columns = columns or len(maps)
    rows = -(-len(maps) // columns)
    with axes(columns, rows, size=(scale, scale)) as (figure, panels):
        for panel in panels.flat[len(maps) :]:
            panel.set_axis_off()
        for (name, values), panel in zip(maps.items(), panels.flat, strict=False):
            numbers = array(values)
            limit = float(np.abs(numbers).max()) or 1.0
            bounds = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {}
            shown = panel.imshow(numbers, interpolation="nearest", **bounds)
            panel.set(title=name, xlabel=x, ylabel=y)
            panel.grid(visible=False)
            for axis in (panel.xaxis, panel.yaxis):  # rows and columns are whole numbers
                axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
            figure.colorbar(shown, cax=panel.inset_axes((1.04, 0, 0.06, 1)))
        return from_figure(figure)


def array(values: Numbers | Float[Tensor, "..."]) -> np.ndarray:
    """Numbers as a NumPy array in float64."""
    if isinstance(values, Tensor):
        return values.detach().double().cpu().numpy()
    return np.asarray(values, float)
