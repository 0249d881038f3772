import numpy as np
import pytest
import torch

from labml_sd.figures import histograms, latent_colours, random_walks
from labml_sd.figures import noise as module


def randn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_the_first_three_channels_are_red_green_and_blue():
    z = torch.tensor([3.0, -3.0, 0.0, 1.7]).reshape(1, 4, 1, 1)
    (image,) = latent_colours(z, scale=1)
    assert image.getpixel((0, 0)) == (255, 0, 128)


def test_values_beyond_the_limit_do_not_wrap_around():
    z = torch.tensor([9.0, -9.0, 3.0, 0.0]).reshape(1, 4, 1, 1)
    assert latent_colours(z, scale=1)[0].getpixel((0, 0)) == (255, 0, 255)


def test_each_cell_is_a_square_at_its_place_in_each_latent():
    z = torch.full((2, 4, 2, 3), -3.0)
    z[1, 0, 1, 2] = 3.0
    first, second = (np.asarray(image) for image in latent_colours(z, scale=4))
    assert first.shape == (8, 12, 3) and not first.any()
    assert (second[4:, 8:, 0] == 255).all() and second[..., 0].sum() == 16 * 255


def test_a_fan_shows_the_walks_their_band_and_where_all_of_them_end(drawn):
    walks, mean, std = randn(60, 5), torch.arange(5.0), torch.full((5,), 0.5)
    random_walks(walks, mean, std, x="t", y="value")
    panel, side = drawn[0].axes
    *lines, middle = panel.lines
    assert len(lines) == module.N_DRAWN
    np.testing.assert_allclose(lines[7].get_ydata(), walks[7].numpy())
    np.testing.assert_allclose(middle.get_ydata(), mean.numpy())
    corners = panel.collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (-1.0, 5.0)
    bars = np.array(
        [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in side.patches]
    )
    assert np.average(bars[:, 0], weights=bars[:, 1]) == pytest.approx(
        walks[:, -1].mean().item(), abs=0.05
    )
    (curve,) = side.lines
    assert curve.get_ydata()[curve.get_xdata().argmax()] == pytest.approx(4.0, abs=0.02)


def test_a_long_walk_is_thinned_out_but_keeps_its_length(drawn):
    random_walks(randn(3, 1000), torch.zeros(1000), torch.ones(1000), x="t", y="value")
    times = drawn[0].axes[0].lines[0].get_xdata()
    assert len(times) == 250 and times[-1] == 996


def test_histograms_count_each_sample_under_its_name(drawn):
    low, high = randn(500) - 3, randn(800) + 3
    histograms(
        {"low": low, "high": high},
        x="value",
        normals={"bell": (1.0, 2.0)},
        line=0.5,
        line_label="cut",
    )
    (panel,) = drawn[0].axes
    for values, name, colour in zip(
        (low, high), ("low", "high"), panel.containers, strict=True
    ):
        centres = [bar.get_x() + bar.get_width() / 2 for bar in colour]
        assert colour.patches[0].get_label() == name
        mean = np.average(centres, weights=[bar.get_height() for bar in colour])
        assert mean == pytest.approx(values.mean().item(), abs=0.1)
        assert sum(bar.get_height() * bar.get_width() for bar in colour) == pytest.approx(1)
    bell, cut = panel.lines
    assert bell.get_xdata()[bell.get_ydata().argmax()] == pytest.approx(1, abs=0.05)
    assert bell.get_ydata().max() == pytest.approx(0.1995, abs=1e-3)
    assert list(cut.get_xdata()) == [0.5, 0.5]


def test_the_same_figure_has_the_same_bytes():
    samples = {"a": randn(50)}
    assert histograms(samples, x="").png == histograms(samples, x="").png
