import numpy as np
import pytest
import torch
from pictures import opened, pixels, where

from labml_sd.figures import point_panels, point_paths, points_film, vector_fields
from labml_sd.figures.picture import COLOURS
from labml_sd.figures.points import PALETTE, REACH

MANY = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
ONE = torch.tensor([[1.0, -0.5]])


def test_sets_of_points_are_drawn_where_they_are_and_named_once(drawn):
    point_panels({"left": {"data": MANY, "x": ONE}, "right": {"data": MANY}})
    left, right = drawn[0].axes
    assert [panel.get_title() for panel in (left, right)] == ["left", "right"]
    np.testing.assert_allclose(left.lines[0].get_xydata(), MANY.numpy())
    np.testing.assert_allclose(left.lines[1].get_xydata(), ONE.numpy())
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["data", "x"]
    assert left.lines[0].get_color() == right.lines[0].get_color() == PALETTE[0]


def test_a_single_point_is_a_star_and_few_points_are_large(drawn):
    point_panels({"": {"many": MANY, "few": MANY[:9], "one": ONE}})
    many, few, one = drawn[0].axes[0].lines
    assert one.get_marker() == "*"
    assert many.get_markersize() < few.get_markersize() < one.get_markersize()


def test_one_set_needs_no_legend(drawn):
    point_panels({"a": {"x": MANY}, "b": {"x": ONE}, "c": {"x": ONE}}, columns=2)
    assert not drawn[0].legends
    assert len(drawn[0].axes) == 4
    assert not drawn[0].axes[3].axison


def test_all_panels_show_the_same_square_whatever_the_points_are(drawn):
    small = point_panels({"": {"x": 0.01 * MANY}})
    large = point_panels({"": {"x": 5 * MANY}})
    assert pixels(small).shape == pixels(large).shape
    for figure in drawn:
        assert figure.axes[0].get_xlim() == figure.axes[0].get_ylim() == (-REACH, REACH)


def test_the_longest_arrow_is_a_sixth_of_the_panel():
    right = torch.tensor([[7.0, 0.0]])
    page = pixels(vector_fields({"": (torch.zeros(1, 2), right)}))
    blue = where(page, COLOURS[0], 40)
    arrow = blue[:, 1].max() - blue[:, 1].min()
    panel = page.shape[1] * 0.9
    assert arrow == pytest.approx(panel / 6, rel=0.15)


def test_a_density_is_dark_where_it_is_high_with_its_first_axis_to_the_right():
    density = torch.zeros(9, 9)
    density[7, 1] = 1.0  # right, below
    nowhere = torch.zeros(1, 2)
    page = pixels(vector_fields({"": (nowhere, nowhere)}, densities=[density]))
    page = page[30:-40, 40:-10]  # without the axes
    dark = where(page, (0x88, 0x88, 0x88), 12)
    row, column = dark.mean(axis=0) / page.shape[:2]
    assert row > 0.6
    assert column > 0.6


def test_a_path_leads_from_a_ring_to_a_dot(drawn):
    path = torch.tensor([[[2.0, 2.0]], [[1.0, 1.0]], [[0.0, 1.0]]])
    point_paths({"x": path}, MANY)
    data, line, ring, dot = drawn[0].axes[0].lines
    np.testing.assert_allclose(data.get_xydata(), MANY.numpy())
    np.testing.assert_allclose(line.get_xydata(), path[:, 0].numpy())
    assert (ring.get_xydata().tolist(), ring.get_fillstyle()) == ([[2, 2]], "none")
    assert (dot.get_xydata().tolist(), dot.get_fillstyle()) == ([[0, 1]], "full")


def test_a_film_moves_the_points_and_keeps_the_ones_behind():
    steps = [torch.tensor([[-2.0, 2.0]]), torch.tensor([[2.0, -2.0]])]
    film = opened(points_film({"x": steps}, ["one", "two"], behind=torch.zeros(1, 2)))
    assert film.n_frames == 2
    frames = []
    for k in range(2):
        film.seek(k)
        frames.append(np.asarray(film.convert("RGB")).astype(int))
    first, second = (where_blue(frame) for frame in frames)
    assert (first < second).all()  # rows and columns: from the upper left to the lower right
    for frame in frames:
        assert (np.abs(frame - 0xD5).sum(axis=-1) < 6).any()
        assert (frame[2, -2] == 255).all()


def test_points_outside_the_panel_of_a_film_are_not_drawn():
    film = points_film({"x": [torch.tensor([[0.0, 5.0]])]}, ["far"])
    assert len(where(pixels(film), COLOURS[0])) == 0


def where_blue(frame: np.ndarray) -> np.ndarray:
    blue = np.argwhere(np.abs(frame - (0x00, 0x72, 0xB2)).sum(axis=-1) < 30)
    return blue.mean(axis=0)
