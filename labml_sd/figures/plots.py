r"""Curves and heat maps.

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
from torch import Tensor

from labml_sd.figures.picture import COLOURS, STYLE, Picture, from_figure

Numbers = Sequence[float] | Tensor


@contextmanager
def axes(
    columns: int = 1, rows: int = 1, *, size: tuple[float, float] = (5.0, 3.0)
) -> Iterator[Any]:
    """A figure with `rows` x `columns` axes of `size` inches each, without pyplot's state."""
    with rc_context(STYLE):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    *,
    x: str,
    y: str,
    alt: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = False,
) -> Picture:
    """Named lines (x values, y values) in one plot; `x` and `y` label the axes."""
    with axes(size=(6.0, 3.4)) as (figure, ((panel,),)):
        for (name, (xs, ys)), colour in zip(lines.items(), cycle(COLOURS), strict=False):
            panel.plot(
                _array(xs), _array(ys), color=colour, label=name, marker="o" if markers else ""
            )
        panel.set(xlabel=x, ylabel=y, title=title)
        if log_x:
            panel.set_xscale("log")
        if log_y:
            panel.set_yscale("log")
        if any(lines):
            panel.legend()
        return from_figure(figure, alt)


def heat_maps(
    maps: Mapping[str, Float[Tensor, "h w"]],
    *,
    alt: str,
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
            array = _array(values)
            limit = float(np.abs(array).max()) or 1.0
            bounds = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {}
            shown = panel.imshow(array, interpolation="nearest", **bounds)
            panel.set(title=name, xlabel=x, ylabel=y)
            panel.grid(visible=False)
            figure.colorbar(shown, ax=panel, shrink=0.75)
        return from_figure(figure, alt)


def _array(values: Numbers | Float[Tensor, "h w"]) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.detach().double().cpu().numpy()
    return np.asarray(values, float)
