import numpy as np
import pytest
import torch
from pictures import pixels, where

from labml_sd.config import ScheduleConfig
from labml_sd.figures import (
    Picture,
    distance_map,
    eps_arrows,
    error_lines,
    level_rows,
    sampling_paths,
)
from labml_sd.sampler import CLEAN, Schedule

ORANGE, BLUE = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(ScheduleConfig())


def two_walks(density: torch.Tensor) -> Picture:
    paths = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, -2.0]])
    places = torch.linspace(-3, 3, 7)
    return sampling_paths({"both": paths}, [999, 500, 0], density=density, places=places)


def test_a_walk_starts_at_the_left_where_t_is_high_and_each_has_its_colour():
    picture = two_walks(torch.zeros(7, 3) + 1e-9)
    up, down = where(pixels(picture), BLUE, 30), where(pixels(picture), ORANGE, 30)
    left_of_up, right_of_up = up[up[:, 1].argmin()], up[up[:, 1].argmax()]
    assert (
        right_of_up[0] < left_of_up[0]
    )  # rows count downwards: this one goes up, to the right
    assert down[:, 0].max() > up[:, 0].max()


def test_the_density_of_a_level_is_dark_where_it_is_high():
    low_places_only = torch.full((7, 3), 1e-6)
    low_places_only[:2] = 1.0
    grey = pixels(two_walks(low_places_only)).sum(axis=-1)
    upper, lower = grey[40:120, 100:-20].mean(), grey[-110:-60, 100:-20].mean()
    assert lower < upper - 100


def test_the_legend_of_errors_tells_the_slope_that_was_given(drawn):
    errors = {"Euler": ([10, 20, 40], [0.1, 0.05, 0.025])}
    one = error_lines(errors, {"Euler": 1.0})
    two = error_lines(errors, {"Euler": 2.0})
    assert one.png != two.png
    (line,) = drawn[0].axes[0].lines
    assert line.get_xydata().tolist() == [[10, 0.1], [20, 0.05], [40, 0.025]]


def test_levels_stand_at_their_time_and_at_their_sigma_and_a_clean_one_nowhere(schedule, drawn):
    levels = [schedule.level(900), schedule.level(100), CLEAN]
    level_rows({"two": levels, "one": levels[1:]})
    lines = [line for panel in drawn[0].axes for line in panel.lines]
    by_time, _, by_sigma, _ = (list(line.get_xdata()) for line in lines)
    assert by_time == [900, 100] and by_sigma == [levels[0].sigma, levels[1].sigma]
    assert [set(line.get_ydata()) for line in lines] == [{0}, {1}, {0}, {1}]


def test_the_noisy_end_of_the_levels_is_at_the_left(schedule):
    picture = level_rows({"noisy": [schedule.level(999)], "clean": [schedule.level(0)]})
    left_half = pixels(picture).shape[1] // 2
    noisy, clean = (where(pixels(picture), colour, 30) for colour in (BLUE, ORANGE))
    for side in (noisy[:, 1] < left_half, noisy[:, 1] >= left_half):
        assert side.any()
    assert noisy[:, 1].min() < clean[:, 1].min() and noisy[:, 1].max() < clean[:, 1].max()


def test_near_is_dark_and_far_is_bright():
    picture = distance_map(["a", "b"], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    page = pixels(picture)
    inside = page[:, : page.shape[1] * 3 // 4]
    dark, bright = (where(inside, c, near=4) for c in ((68, 1, 84), (253, 231, 37)))
    assert len(dark) > 1000 and len(bright) > 1000
    assert dark[0][1] < bright[0][1]  # the first row begins with itself


DATA = torch.tensor([[1.0, 1.0], [-2.0, 0.5]])
X, CLEANED, X0 = (torch.tensor([[3.0, 2.0], [0.0, -1.0]]) / k for k in (1, 2, 4))


@pytest.fixture
def panels(drawn):
    eps_arrows(DATA, {"early": (X, CLEANED, X0), "late": (X0, X0, X0)})
    return drawn[0].axes


def test_an_arrow_leads_from_each_noisy_point_to_where_its_noise_is_gone(panels):
    arrows = [(text.xyann, text.xy) for text in panels[0].texts if text.arrow_patch]
    np.testing.assert_allclose([start for start, _ in arrows], X.numpy())
    np.testing.assert_allclose([end for _, end in arrows], CLEANED.numpy())


def test_a_dotted_line_leads_on_to_the_prediction(panels):
    dotted = [line.get_xydata() for line in panels[0].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, torch.stack([CLEANED, X0], dim=1).numpy())
    np.testing.assert_allclose(panels[0].collections[0].get_offsets(), X0.numpy())


def test_the_data_are_in_every_panel_on_one_scale(panels):
    for panel in panels:
        np.testing.assert_allclose(panel.collections[1].get_offsets(), DATA.numpy())
        assert panel.get_xlim() == panel.get_ylim() == pytest.approx((-3.3, 3.3))
    assert [panel.get_title() for panel in panels] == ["early", "late"]
