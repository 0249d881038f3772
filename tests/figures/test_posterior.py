import numpy as np
import pytest
import torch
from matplotlib.patches import Ellipse

from labml_sd.figures import posterior_plane

MEAN = torch.tensor([[1.0, -2.0], [0.5, 0.25]])
STD = torch.tensor([[0.1, 0.2], [0.05, 0.02]])


@pytest.fixture
def panels(drawn):
    draws = MEAN[:, None] + STD[:, None] * torch.randn(
        2, 30, 2, generator=torch.Generator().manual_seed(0)
    )
    posterior_plane(MEAN, STD, draws, zoom=1, alt="")
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
