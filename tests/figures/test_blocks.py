import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pictures import pixels
from PIL import ImageColor

from labml_sd.figures import Picture, layer_orders, windows
from labml_sd.figures import blocks as module
from labml_sd.figures.blocks import CELL, KINDS, MIDDLE, PALE, SEEN, WANTED, windows_of
from labml_sd.figures.grids import GAP


def seen(pad, n=8):
    impulses = torch.eye(n)[:, None]
    return F.conv1d(F.pad(impulses, pad), torch.ones(1, 1, 3), stride=2)[:, 0].T


def columns(picture: Picture, colour, row: int) -> list[tuple[int, int]]:
    """First and last column of `colour` in the bar of output `row`, in pixels from cell 0."""
    page = pixels(picture)[:-30]  # without the legend
    rows = np.flatnonzero((page == SEEN).all(axis=2).any(axis=1))
    bars = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    found = np.flatnonzero((page[bars[row]] == colour).all(axis=2).any(axis=0))
    left = GAP + module._x(0)
    return (found.min() - left, found.max() - left)


def test_a_window_knows_the_cells_it_sees_and_the_padding():
    assert windows_of(seen((0, 1))) == [(0, 2, 0), (2, 4, 2), (4, 6, 4), (6, 7, 6)]
    assert windows_of(seen((1, 1)))[0] == (0, 1, -1)


@pytest.mark.parametrize(
    ("pad", "row", "first", "last"), [((0, 1), 1, 2, 5), ((1, 1), 1, 1, 4)]
)
def test_the_bar_of_an_output_covers_the_cells_that_it_sees(pad, row, first, last):
    start, end = columns(windows({"a": seen(pad)}), SEEN, row)
    assert (start, end) == (first * CELL, last * CELL)


def test_padding_is_pale_and_beyond_the_cells():
    start, end = columns(windows({"a": seen((0, 1))}), PALE, 3)
    assert (start, end) == (8 * CELL + 1, 9 * CELL)
    start, end = columns(windows({"a": seen((1, 1))}), PALE, 0)
    assert (start, end) == (-CELL, -1)


def test_dot_and_line_stand_half_a_cell_apart():
    for pad, apart in (((0, 1), CELL / 2), ((1, 1), -CELL / 2)):
        picture = windows({"a": seen(pad)})
        dot, line = (np.mean(columns(picture, colour, 1)) for colour in (MIDDLE, WANTED))
        assert dot - line == pytest.approx(apart, abs=1)


def test_layers_stand_in_their_order_and_the_skip_connection_ends_at_the_sum(drawn):
    layer_orders({"first": ("norm", "conv", "+"), "second": ("conv", "+", "silu")})
    panel = drawn[0].axes[0]
    words = [t.get_text() for t in panel.texts if t.get_text()]
    assert words == ["first", "norm", "conv", "+", "second", "conv", "+", "silu"]
    around = [line.get_xydata() for line in panel.lines]
    assert [line[-1].tolist() for line in around] == [[2.5, 0.0], [1.5, -1.0]]
    faces = [ImageColor.getrgb(KINDS[k]) for k in ("norm", "conv")]
    drawn = [
        tuple(round(255 * v) for v in patch.get_facecolor()[:3]) for patch in panel.patches[:2]
    ]
    assert drawn == faces
