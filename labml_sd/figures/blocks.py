r"""The inputs that each output of a strided layer depends on, and the order of layers.

Maps       weights [out in] of a strided layer, names of layers in order  ->  Picture
Tests      tests/figures/test_blocks.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from matplotlib.patches import FancyBboxPatch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from labml_sd.figures.grids import FONT_SIZE, GAP, INK, PAPER
from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import axes

CELL, BAR = 34, 16  # pixels: side of an input cell, height of the bar of a window
SEEN, MIDDLE, WANTED = (ImageColor.getrgb(COLOURS[i]) for i in (5, 1, 2))
PALE = (215, 215, 215)
KINDS = {"norm": "#DDE6EE", "silu": COLOURS[4], "conv": COLOURS[5]}  # colours of layers by name


@dataclass(frozen=True)
class Window:
    """The input cells `first` to `last` of one output, and the padding before and after."""

    first: int
    last: int
    before: int
    after: int

    @property
    def middle(self) -> float:
        """The middle of the window, including its padding, in input cells."""
        return (self.first - self.before + self.last + self.after) / 2


def windows_of(seen: Float[Tensor, "out in"], kernel: int = 3) -> list[Window]:
    """The window of each output: the non-zero weights of its row, padded to `kernel` cells."""
    found = []
    for row in seen:
        cells = row.nonzero().flatten().tolist()
        missing = kernel - len(cells)
        at_start = cells[0] == 0
        found.append(Window(cells[0], cells[-1], missing * at_start, missing * (not at_start)))
    return found


def windows(seen: Mapping[str, Float[Tensor, "out in"]], *, alt: str) -> Picture:
    """For each layer the input cells in a row, and below them a bar for each output's window.

    Padding is pale. A dot marks the middle of the window, a line the middle of the cells 2i and
    2i + 1 that output i should represent.
    """
    panels = [
        _panel(title, windows_of(weights), weights.shape[1]) for title, weights in seen.items()
    ]
    width = sum(panel.width for panel in panels) + GAP * (len(panels) + 1)
    page = Image.new("RGB", (width, panels[0].height + 2 * FONT_SIZE + 2 * GAP), PAPER)
    left = GAP
    for panel in panels:
        page.paste(panel, (left, 0))
        left += panel.width + GAP
    _legend(page, panels[0].height + GAP // 2)
    return from_image(page, alt)


def _panel(title: str, found: Sequence[Window], n: int) -> Image.Image:
    """A row of input cells with a bar for each output; names and padding are at the left."""
    font = ImageFont.load_default(FONT_SIZE)
    top = FONT_SIZE + 2 * GAP
    page = Image.new("RGB", (_x(n + 1) + 4, top + CELL + len(found) * (BAR + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_x(0), GAP // 2), title, INK, font)
    for k in range(n):
        box = (_x(k), top, _x(k + 1), top + CELL)
        pen.rectangle(box, outline=INK, fill=PAPER)
        pen.text(((box[0] + box[2]) / 2, top + CELL / 2), str(k), INK, font, anchor="mm")
    for i, window in enumerate(found):
        y = top + CELL + GAP + i * (BAR + GAP)
        pen.text((4, y + BAR / 2), f"out {i}", INK, font, anchor="lm")
        start, end = window.first - window.before, window.last + window.after
        pen.rectangle((_x(start), y, _x(end + 1), y + BAR), fill=PALE)
        pen.rectangle((_x(window.first), y, _x(window.last + 1), y + BAR), fill=SEEN)
        wanted, middle, half = _x(2 * i + 1), _x(window.middle + 0.5), y + BAR / 2
        pen.line((wanted, y - 3, wanted, y + BAR + 3), fill=WANTED, width=3)
        pen.ellipse((middle - 5, half - 5, middle + 5, half + 5), fill=MIDDLE)
    return page


def _x(cell: float | int) -> int:
    """Left edge of an input cell."""
    return round((cell + 2.4) * CELL)


def _legend(page: Image.Image, y: int) -> None:
    font, pen, x = ImageFont.load_default(FONT_SIZE), ImageDraw.Draw(page), float(3 * GAP)
    for colour, text in (
        (SEEN, "cells seen"),
        (PALE, "padding seen"),
        (MIDDLE, "middle of the window"),
        (WANTED, "middle of cells 2i and 2i + 1"),
    ):
        pen.rectangle((x, y + 2, x + 12, y + 14), fill=colour)
        pen.text((x + 18, y + 8), text, INK, font, anchor="lm")
        x += 18 + font.getlength(text) + 3 * GAP


def layer_orders(orders: Mapping[str, Sequence[str]], *, alt: str) -> Picture:
    """Blocks as rows of layers, with the skip connection from the left to the "+"."""
    longest = max(map(len, orders.values()))
    with axes(size=(1.5 + 0.95 * longest, 0.95 * len(orders))) as (figure, ((panel,),)):
        panel.set(xlim=(-0.9, longest + 1.2), ylim=(-len(orders) + 0.25, 0.95))
        panel.set_axis_off()
        for row, (name, layers) in enumerate(orders.items()):
            _row(panel, -row, name, layers, longest)
        return from_figure(figure, alt)


def _row(panel: Any, y: int, name: str, layers: Sequence[str], longest: int) -> None:
    line = {"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", (longest + 0.6, y), (-0.5, y), arrowprops=line, zorder=1)
    plus = layers.index("+")
    xs, ys = [-0.25, -0.25, plus + 0.5, plus + 0.5], [y, y + 0.45, y + 0.45, y]
    panel.plot(xs, ys, color="#555555", zorder=1)
    panel.text(-0.2, y + 0.5, name, ha="left", va="bottom", fontsize=10, weight="bold")
    for k, layer in enumerate(layers):
        fill, round_corners = KINDS.get(layer, "white"), "round,pad=0,rounding_size=0.08"
        corner = (k + 0.14, y - 0.2)
        box = FancyBboxPatch(corner, 0.72, 0.4, round_corners, facecolor=fill, zorder=2)
        panel.add_patch(box)
        panel.text(k + 0.5, y, layer, ha="center", va="center", fontsize=10, zorder=3)
