import numpy as np
import pytest
import torch
from matplotlib.patches import Ellipse
from pictures import pixels
from PIL import Image, ImageColor

from labml_sd.figures import (
    cell_reach,
    posterior_plane,
    receptive_fields,
    round_trips,
)
from labml_sd.figures.grids import GAP
from labml_sd.figures.picture import COLOURS

MEAN = torch.tensor([[1.0, -2.0], [0.5, 0.25]])
STD = torch.tensor([[0.1, 0.2], [0.05, 0.02]])


@pytest.fixture
def panels(drawn):
    draws = MEAN[:, None] + STD[:, None] * torch.randn(
        2, 30, 2, generator=torch.Generator().manual_seed(0)
    )
    posterior_plane(MEAN, STD, draws, zoom=1)
    return (*drawn[0].axes, draws)


def ellipses(panel):
    return [(*p.center, p.width, p.height) for p in panel.patches if isinstance(p, Ellipse)]


def test_every_cloud_is_an_ellipse_of_two_stds_beside_the_standard_normals(panels):
    *clouds, standard = ellipses(panels[0])
    np.testing.assert_allclose(clouds, [(1, -2, 0.4, 0.8), (0.5, 0.25, 0.2, 0.08)], rtol=1e-6)
    assert standard == (0, 0, 4, 4)


def test_the_close_look_shows_the_chosen_clouds_draws_within_one_and_two_stds(panels):
    _, close, draws = panels
    np.testing.assert_allclose(close.collections[0].get_offsets(), draws[1].double().numpy())
    widths = [width for x, _, width, _ in ellipses(close) if x == 0.5]
    np.testing.assert_allclose(widths, [0.1, 0.2], rtol=1e-6)


def test_the_frame_is_what_the_close_look_shows(panels):
    panel, close, _ = panels
    frame = panel.patches[-1]
    assert close.get_xlim() == pytest.approx((frame.get_x(), frame.get_x() + frame.get_width()))
    assert close.get_ylim() == pytest.approx(
        (frame.get_y(), frame.get_y() + frame.get_height())
    )
    assert np.mean(close.get_xlim()) == pytest.approx(0.5) and np.mean(
        close.get_ylim()
    ) == pytest.approx(0.25)


def test_the_axes_are_named_and_equal(panels):
    for panel in panels[:2]:
        assert (panel.get_xlabel(), panel.get_ylabel(), panel.get_aspect()) == (
            "channel 0",
            "channel 1",
            1,
        )


def test_a_frame_encloses_its_box():
    page = pixels(
        receptive_fields(
            Image.new("RGB", (32, 32)),
            {"a": (4, 8, 20, 24), "b": (0, 0, 32, 32)},
        )
    )
    picture = page[GAP : GAP + 96, GAP : GAP + 96]
    for colour, box in zip(COLOURS, ((4, 8, 20, 24), (0, 0, 32, 32)), strict=False):
        rows, columns = np.nonzero((picture == ImageColor.getrgb(colour)).all(axis=2))
        assert (columns.min(), rows.min()) == (3 * box[0], 3 * box[1])
        assert (columns.max() + 1, rows.max() + 1) == (3 * box[2], 3 * box[3])


def test_the_error_is_black_where_nothing_is_lost_and_bright_where_much_is():
    images = torch.zeros(2, 3, 16, 16)
    results = images.clone()
    results[1, :, 4:8, 4:8] = 0.5
    page = pixels(round_trips(images, results, ["good", "bad"]))
    left, right = (
        page.shape[1] - GAP - 40,
        page.shape[1] - GAP - 20,
    )  # two columns of 16 + 4 pixels
    error = slice(page.shape[0] - GAP - 20, page.shape[0] - GAP - 4)
    good, bad = page[error, left : left + 16], page[error, right : right + 16]
    assert good.max() < 5
    assert bad[4:8, 4:8].min() > 100
    assert bad[:4].max() < 5


def test_results_beyond_the_range_count_as_its_ends():
    images = torch.ones(1, 3, 16, 16)
    assert round_trips(images, images + 9).png == round_trips(images, images).png


def test_the_patch_of_the_cell_is_framed_and_what_changed_is_bright():
    before = torch.zeros(3, 72, 72)
    after = before.clone()
    after[:, 26:30, 34:38] = 1  # inside the patch of cell (3, 4)
    page = pixels(cell_reach(before, after, (3, 4)))
    side = 5 * 8 * 7
    panels = [
        page[GAP : GAP + side, x : x + side] for x in (GAP, 2 * GAP + side, 3 * GAP + 2 * side)
    ]
    for panel in panels:
        white = (panel[:, :] == 255).all(axis=2)
        rows, columns = np.nonzero(
            white[118:162, 118:162]
        )  # the frame of the middle patch, pixels 120 to 159
        assert {rows.min(), rows.max(), columns.min(), columns.max()} == {2, 41}
    assert (panels[0][130:150, 130:150] == 128).all()
    assert (panels[1][130:150, 130:150] == 255).all()
    assert panels[2][130:150, 130:150].min() > 150
    assert panels[2][5:35, 5:35].max() < 5
