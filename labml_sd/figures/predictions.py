r"""The predicted noise and the predicted x0 as arrows, for data in the plane.

Maps       noisy points, predictions [n 2]  ->  Picture
Tests      tests/figures/test_predictions.py
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import axes

Points = Float[Tensor, "_ 2"]


def eps_arrows(
    data: Float[Tensor, "k 2"], panels: Mapping[str, tuple[Points, Points, Points]], *, alt: str
) -> Picture:
    """Data as stars; a panel has noisy points: x, x minus its noise, predicted x0, each [n 2].

    A blue arrow removes the noise; an orange dotted line continues to the predicted x0, a ring.
    """
    everything = [data, *(points for panel in panels.values() for points in panel)]
    reach = 1.1 * max(float(points.abs().max()) for points in everything)
    with axes(len(panels), size=(3.5, 3.6)) as (figure, (row,)):
        for panel, (title, (x, cleaned, x0)) in zip(row, panels.items(), strict=True):
            for start, middle, end in zip(
                x.tolist(), cleaned.tolist(), x0.tolist(), strict=True
            ):
                _path(panel, start, middle, end)
            panel.scatter(
                *x0.T.tolist(), s=34, facecolors="none", edgecolors=COLOURS[1], zorder=3
            )
            panel.scatter(*data.T.tolist(), s=90, marker="*", color=COLOURS[6], zorder=4)
            panel.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        return from_figure(figure, alt)


def _path(panel: Any, start: list[float], middle: list[float], end: list[float]) -> None:
    line = {"color": COLOURS[0], "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", middle, start, arrowprops={"arrowstyle": "-|>"} | line)
    panel.plot(*zip(middle, end, strict=True), color=COLOURS[1], linewidth=1.1, linestyle=":")
    panel.plot(*start, marker=".", color=COLOURS[0])
