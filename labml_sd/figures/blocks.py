r"""The inputs that each output of a strided layer depends on, and the order of layers.

Maps       weights [out in] of a strided layer, names of layers in order  ->  Picture
Tests      tests/figures/test_blocks.py
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from PIL import ImageColor
from torch import Tensor

from labml_sd.figures.grids import GAP
from labml_sd.figures.page import FONT_SIZE, PAPER, Page, text_width
from labml_sd.figures.picture import COLOURS, INK, Picture, from_figure, from_image
from labml_sd.figures.plots import arrow, box, diagram

CELL, BAR = 34, 16  # pixels: side of an input cell, height of the bar of a window
KERNEL = 3  # inputs of a window, padding included
SEEN, MIDDLE, WANTED = (ImageColor.getrgb(COLOURS[i]) for i in (5, 1, 2))
PALE = (215, 215, 215)
KINDS = {"norm": "#DDE6EE", "silu": COLOURS[4], "conv": COLOURS[5]}  # colours of layers by name


def windows_of(seen: Float[Tensor, "out in"]) -> list[tuple[int, int, int]]:
    """First and last input of each output, and where its window of `KERNEL` cells starts.

    The inputs are the non-zero weights of a row; the other cells of the window are padding.
    """
    found = []
    for row in seen:
        first, *_, last = row.nonzero().flatten().tolist()
        found.append((first, last, last + 1 - KERNEL if first == 0 else first))
    return found


def windows(seen: Mapping[str, Float[Tensor, "out in"]]) -> Picture:
    """For each layer the input cells in a row, and below them a bar for each output's window.

    Padding is pale. A dot marks the middle of the window, a line the middle of the cells 2i and
    2i + 1 that output i should represent.
    """
    panels = [
        _panel(title, windows_of(weights), weights.shape[1]) for title, weights in seen.items()
    ]
    width = sum(panel.width + GAP for panel in panels) + GAP
    page = Page(width, panels[0].height + 2 * FONT_SIZE + 2 * GAP)
    left: float | int = GAP
    for panel in panels:
        page.paste(panel, (left, 0))
        left += panel.width + GAP
    _legend(page, panels[0].height + GAP // 2)
    return from_image(page.image)


def _panel(title: str, found: Sequence[tuple[int, int, int]], n: int) -> Page:
    """A row of input cells with a bar for each output; names and padding are at the left."""
    top = FONT_SIZE + 2 * GAP
    page = Page(_x(n + 1) + 4, top + CELL + len(found) * (BAR + GAP) + GAP)
    page.text((_x(0), GAP // 2), title)
    for k in range(n):
        page.rectangle((_x(k), top, _x(k + 1), top + CELL), outline=INK, fill=PAPER)
        page.text(((_x(k) + _x(k + 1)) / 2, top + CELL / 2), str(k), anchor="mm")
    for i, (first, last, start) in enumerate(found):
        y = top + CELL + GAP + i * (BAR + GAP)
        page.text((4, y + BAR / 2), f"out {i}", anchor="lm")
        page.rectangle((_x(start), y, _x(start + KERNEL), y + BAR), fill=PALE)
        page.rectangle((_x(first), y, _x(last + 1), y + BAR), fill=SEEN)
        wanted, middle = _x(2 * i + 1), _x(start + KERNEL / 2)
        page.line((wanted, y - 3, wanted, y + BAR + 3), fill=WANTED, width=3)
        page.circle((middle, y + BAR / 2), 5, fill=MIDDLE)
    return page


def _x(cell: float | int) -> int:
    """Left edge of an input cell."""
    return round((cell + 2.4) * CELL)


def _legend(page: Page, y: float | int) -> None:
    x = float(3 * GAP)
    for colour, text in (
        (SEEN, "inputs seen"),
        (PALE, "padding seen"),
        (MIDDLE, "middle of the window"),
        (WANTED, "middle of inputs 2i and 2i + 1"),
    ):
        page.rectangle((x, y + 2, x + 12, y + 14), fill=colour)
        page.text((x + 18, y + 8), text, anchor="lm")
        x += 18 + text_width(text) + 3 * GAP


def layer_orders(orders: Mapping[str, Sequence[str]]) -> Picture:
    """Blocks as rows of layers, with the skip connection from the left to the "+"."""
    longest, n = max(map(len, orders.values())), len(orders)
    size, across = (1.5 + 0.95 * longest, 0.95 * n), (-0.9, longest + 1.2)
    with diagram(size, across, (-n + 0.25, 0.95)) as (figure, panel):
        for row, (name, layers) in enumerate(orders.items()):
            _row(panel, -row, name, layers, longest)
        return from_figure(figure)


def _row(panel: Any, y: int, name: str, layers: Sequence[str], longest: int) -> None:
    arrow(panel, (-0.5, y), (longest + 0.6, y), zorder=1, color="#555555")
    plus = layers.index("+") + 0.5
    panel.plot(
        [-0.25, -0.25, plus, plus], [y, y + 0.45, y + 0.45, y], color="#555555", zorder=1
    )
    panel.text(-0.2, y + 0.5, name, ha="left", va="bottom", fontsize=10, weight="bold")
    for k, layer in enumerate(layers):
        fill = KINDS.get(layer, "white")
        box(panel, k + 0.5, y, 0.72, 0.4, rounding=0.08, facecolor=fill, zorder=2)
        panel.text(k + 0.5, y, layer, ha="center", va="center", fontsize=10, zorder=3)
