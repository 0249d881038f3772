import numpy as np
import pytest
import torch
from pictures import pixels, where
from PIL import Image

from labml_sd.figures import (
    captions_and_pictures,
    position_bars,
    share_bars,
    token_matrix,
    token_strip,
)
from labml_sd.figures.text import END, KINDS, START, WIDTH, lay_out, token_kinds

TOKENS = [START, "moon", "light</w>", "sea</w>", END, END, END]


def area(page, colour):
    """The number of pixels of a colour."""
    return len(where(page, colour))


def test_the_first_end_mark_ends_the_text_and_the_others_are_padding():
    assert token_kinds(TOKENS) == ["start", "word", "word", "word", "end", "padding", "padding"]
    assert token_kinds(["a</w>"]) == ["word"]


def test_pieces_of_one_word_touch_and_words_stand_apart():
    moon, light, sea = lay_out(TOKENS, (), 0)[1:4]
    assert light.left == moon.left + moon.width
    assert sea.left > light.left + light.width


def test_a_long_row_is_broken_and_no_box_passes_the_edge():
    boxes = lay_out(["house</w>"] * 60, (), 2)
    assert boxes[0].line == 2 < boxes[-1].line
    assert max(box.left + box.width for box in boxes) <= WIDTH


def test_each_kind_of_token_has_its_colour_on_the_page():
    page = pixels(token_strip({"a": TOKENS}, {"a": range(7)}))
    assert all(area(page, colour) > 200 for colour in KINDS.values())
    assert area(pixels(token_strip({"a": TOKENS[:4]})), KINDS["padding"]) == 0


def test_a_matrix_shows_its_brightest_cell_where_it_is():
    table = torch.zeros(7, 7)
    table[6, 0] = 1.0
    page = pixels(token_matrix({"t": table}, TOKENS))
    bright = np.argwhere((page[..., 0] > 240) & (page[..., 1] > 220) & (page[..., 2] < 100))
    dark = np.argwhere((page[..., 0] < 10) & (page[..., 1] < 50) & (page[..., 2] > 60))
    in_matrix = bright[
        bright[:, 1] < dark[:, 1].mean()
    ]  # the scale at the side ends in the same colour
    assert in_matrix[:, 0].mean() > dark[:, 0].mean()
    assert len(in_matrix) > 300


def test_bars_have_the_colour_of_the_token_and_the_height_of_the_number():
    only = {
        kind: torch.tensor([float(k == kind) for k in token_kinds(TOKENS)])
        for kind in ("word", "padding")
    }
    page = pixels(position_bars(only, TOKENS, y="y"))
    three_words, two_pads = area(page, KINDS["word"]), area(page, KINDS["padding"])
    assert three_words / two_pads == pytest.approx(3 / 2, rel=0.1)
    half = pixels(position_bars({"a": only["word"], "b": only["word"] / 2}, TOKENS, y="y"))
    whole = pixels(position_bars({"a": only["word"], "b": only["word"]}, TOKENS, y="y"))
    assert area(half, KINDS["word"]) / area(whole, KINDS["word"]) == pytest.approx(
        0.75, rel=0.05
    )


def test_shares_are_as_wide_as_they_are_large():
    page = pixels(share_bars({"row": [0.04, 0.64, 0.0, 0.32]}))
    assert area(page, KINDS["word"]) / area(page, KINDS["padding"]) == pytest.approx(2, rel=0.1)


def test_the_pictures_stand_above_their_cosines():
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ((0, 200, 0), (200, 0, 200)))
    page = pixels(captions_and_pictures({"t": torch.eye(2)}, ["one", "two"], [red, blue]))
    first, second = (where(page, c) for c in ((0, 200, 0), (200, 0, 200)))
    hot = where(page, (103, 0, 31))  # a cosine of 1
    assert first[:, 1].max() < second[:, 1].min()
    assert max(first[:, 0].max(), second[:, 0].max()) < hot[:, 0].min()
    one, two = (
        hot[(hot[:, 1] >= p[:, 1].min()) & (hot[:, 1] <= p[:, 1].max())]
        for p in (first, second)
    )
    assert one[:, 0].mean() < two[:, 0].mean()  # the diagonal, not the other one
