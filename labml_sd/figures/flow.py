r"""The data flow from prompt to image, with some parts highlighted.

Maps       names of parts  ->  Picture
Tests      tests/figures/test_general.py
"""

from typing import Any, NamedTuple

from labml_sd.figures.picture import INK, PALE, Picture, from_figure
from labml_sd.figures.plots import arrow, box, diagram

HIGHLIGHTED, PLAIN = "#E69F00", "#F3F1EC"


class Box(NamedTuple):
    """A part of the model, or the data between two parts. x and y are the middle."""

    text: str
    x: float
    y: float
    width: float = 1.5


PARTS = {
    "text_encoder": Box("text encoder\nCLIP", 2.7, 3.2),
    "encoder": Box("encoder\nposterior", 2.7, 0.5),
    "add_noise": Box("add noise\nto level t", 4.75, 0.5),
    "unet": Box("U-Net\npredicts eps", 6.15, 2.3),
    "guidance": Box("guidance", 8.05, 2.3),
    "sampler": Box("sampler\nsteps to the next t", 7.55, 1.35, width=2.5),
    "decoder": Box("decoder", 10.3, 1.35),
    "blend": Box("mask\nblend", 7.55, 0.3),
}
DATA = (
    Box("prompt", 0.75, 3.2, width=1.2),
    Box("image", 0.75, 0.5, width=1.2),
    Box("noise", 2.7, 1.95, width=1.2),
    Box("image", 12.2, 1.35, width=1.2),
)
# Each arrow: the corners of its line, and its label.
ARROWS: tuple[tuple[list[tuple[float, float]], str], ...] = (
    ([(1.35, 3.2), (1.95, 3.2)], ""),
    ([(3.45, 3.2), (6.15, 3.2), (6.15, 2.66)], "c [77 d]"),
    ([(1.35, 0.5), (1.95, 0.5)], ""),
    ([(3.45, 0.5), (4.0, 0.5)], "z"),
    ([(4.75, 0.86), (4.75, 2.2), (5.4, 2.2)], ""),
    ([(3.3, 1.95), (4.75, 1.95), (4.75, 2.2), (5.4, 2.2)], "x [4 h w]"),
    ([(6.9, 2.3), (7.3, 2.3)], ""),
    ([(8.05, 1.94), (8.05, 1.71)], ""),
    ([(6.3, 1.35), (5.55, 1.35), (5.55, 1.94)], "next x"),
    ([(8.8, 1.35), (9.55, 1.35)], "z"),
    ([(11.05, 1.35), (11.6, 1.35)], ""),
    ([(7.55, 0.66), (7.55, 0.99)], ""),
)


def data_flow(*highlighted: str) -> Picture:
    """The data flow with the named parts highlighted. Raises ValueError for an unknown part."""
    if unknown := [name for name in highlighted if name not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; expected any of {', '.join(PARTS)}")
    with diagram((10.2, 3.1), (0, 13), (-0.2, 3.7)) as (figure, panel):
        for corners, label in ARROWS:
            _arrow(panel, corners, label)
        for item in DATA:
            _box(panel, item, "white", PALE, "normal")
        for name, item in PARTS.items():
            strong = name in highlighted
            fill, weight = (HIGHLIGHTED, "bold") if strong else (PLAIN, "normal")
            _box(panel, item, fill, INK, weight)
        return from_figure(figure)


def _box(panel: Any, item: Box, fill: str, edge: str, weight: str) -> None:
    x, y = item.x, item.y
    box(panel, x, y, item.width, 0.72, rounding=0.1, facecolor=fill, edgecolor=edge)
    style = {"ha": "center", "va": "center", "fontsize": 9, "weight": weight, "color": INK}
    panel.text(x, y, item.text, **style)


def _arrow(panel: Any, corners: list[tuple[float, float]], label: str) -> None:
    xs, ys = zip(*corners[:-1], strict=True)
    panel.plot(xs, ys, color=PALE, linewidth=1.2)
    arrow(panel, corners[-2], corners[-1], color=PALE)
    (x0, y0), (x1, _) = corners[:2]
    style = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": INK}
    panel.text((x0 + x1) / 2, y0 + 0.08, label, **style)
