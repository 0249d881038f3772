import numpy as np
import torch
from pictures import pixels
from PIL import Image

from labml_sd.figures import Picture, attention_overlay, weight_tables
from labml_sd.figures.attention import GLOW

GREY = Image.new("RGB", (64, 32), (120, 120, 120))


def cell(picture: Picture, index: int) -> np.ndarray:
    """Cell `index` of one row of 64 x 32 cells, 10 pixels apart."""
    left = 10 + index * 74
    return pixels(picture)[10:42, left : left + 64]


def lightness(picture: Picture, index: int) -> np.ndarray:
    return np.abs(cell(picture, index) - np.array(GLOW)).sum(axis=-1)


def test_the_picture_itself_stands_first_and_is_not_changed():
    assert (cell(attention_overlay(GREY, torch.rand(1, 4, 8)), 0) == 120).all()


def test_light_falls_where_the_map_is_high_and_the_rest_is_grey():
    maps = torch.zeros(2, 4, 8)
    maps[0, :, :4] = 1  # the left half
    maps[1, :2] = 1  # the upper half
    picture = attention_overlay(GREY, maps)
    left, upper = lightness(picture, 1), lightness(picture, 2)
    assert left[:, :20].mean() < 0.5 * left[:, 44:].mean()
    assert upper[:10].mean() < 0.5 * upper[22:].mean()
    dark = cell(picture, 1)[:, 50:]
    assert (dark.max(axis=-1) == dark.min(axis=-1)).all()


def test_each_map_has_its_own_scale():
    one = torch.rand(1, 4, 8, generator=torch.Generator().manual_seed(0))
    picture = attention_overlay(GREY, torch.cat([one, 0.01 * one + 3]))
    assert np.abs(cell(picture, 1) - cell(picture, 2)).max() <= 2


def test_a_map_without_differences_is_grey_all_over():
    picture = cell(attention_overlay(GREY, torch.full((1, 4, 8), 0.3)), 1)
    assert (picture.max(axis=-1) == picture.min(axis=-1)).all()


def test_the_query_cell_is_framed_in_its_own_map_alone():
    picture = attention_overlay(GREY, torch.zeros(2, 4, 8), marked=[(1, 2), (3, 7)])
    first, second = cell(picture, 1), cell(picture, 2)
    assert (first[8, 16:24] == 255).all() and not (first[24, 56:64] == 255).all()
    assert (second[24, 56:63] == 255).all() and not (second[8, 16:24] == 255).all()


def test_a_larger_scale_enlarges_every_cell():
    small, large = (
        pixels(attention_overlay(GREY, torch.rand(2, 4, 8), scale=s)) for s in (1, 2)
    )
    assert large.shape[1] - small.shape[1] == 3 * 64


def test_titles_stand_below_the_maps():
    without, titled = (
        attention_overlay(GREY, torch.zeros(1, 4, 8), t) for t in ((), ("word",))
    )
    assert pixels(titled).shape[0] > pixels(without).shape[0]
    assert (pixels(titled)[44:, 84:148] < 128).any()


def test_the_largest_weight_of_a_table_is_its_brightest_cell():
    rows = np.full((2, 3), 0.1)
    rows[1, 2] = 0.8
    shown = pixels(weight_tables({"": torch.tensor(rows)}, ["a", "b"], ["x", "y", "z"]))
    yellow = np.argwhere((shown[..., 0] > 200) & (shown[..., 2] < 100))
    blue = np.argwhere((shown[..., 2] > shown[..., 0] + 30) & (shown[..., 0] < 80))
    assert len(yellow) > 500
    assert yellow[:, 0].min() > np.median(blue[:, 0]) - shown.shape[0] / 4  # the lower row
    assert yellow[:, 1].min() > np.median(blue[:, 1])  # the right column


def test_a_table_with_other_numbers_is_another_picture():
    table = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    one = weight_tables({"": table}, ["a", "b"], ["x", "y"])
    assert one.png == weight_tables({"": table}, ["a", "b"], ["x", "y"]).png
    assert one.png != weight_tables({"": table.flip(0)}, ["a", "b"], ["x", "y"]).png
    assert one.png != weight_tables({"": table}, ["b", "a"], ["x", "y"]).png
