import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from labml_sd.config import ScheduleConfig
from labml_sd.figures import Picture, distance_map, error_lines, level_rows, sampling_paths
from labml_sd.sampler import CLEAN, Schedule

ORANGE, BLUE = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), int)


def where(picture: Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels in a colour."""
    return np.argwhere(np.abs(pixels(picture) - colour).sum(axis=-1) < 60)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(ScheduleConfig())


@pytest.fixture
def plotted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """The x and y of every line that is drawn."""
    lines: list[tuple[np.ndarray, np.ndarray]] = []
    plot = Axes.plot

    def spy(self, x, y, *args, **options):
        lines.append((np.asarray(x, float), np.asarray(y, float)))
        return plot(self, x, y, *args, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def two_walks(density: torch.Tensor) -> Picture:
    paths = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, -2.0]])
    places = torch.linspace(-3, 3, 7)
    return sampling_paths(
        {"both": paths}, [999, 500, 0], density=density, places=places, alt=""
    )


def test_a_walk_starts_at_the_left_where_t_is_high_and_each_has_its_colour():
    picture = two_walks(torch.zeros(7, 3) + 1e-9)
    up, down = where(picture, BLUE), where(picture, ORANGE)
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


def test_the_legend_of_errors_tells_the_slope_that_was_given(plotted):
    errors = {"Euler": ([10, 20, 40], [0.1, 0.05, 0.025])}
    one = error_lines(errors, {"Euler": 1.0}, alt="")
    two = error_lines(errors, {"Euler": 2.0}, alt="")
    assert one.png != two.png
    assert plotted[0][0].tolist() == [10, 20, 40] and plotted[0][1].tolist() == [
        0.1,
        0.05,
        0.025,
    ]


def test_levels_stand_at_their_time_and_at_their_sigma_and_a_clean_one_nowhere(
    schedule, plotted
):
    levels = [schedule.level(900), schedule.level(100), CLEAN]
    level_rows({"two": levels, "one": levels[1:]}, alt="")
    by_time, _, by_sigma, _ = plotted
    assert by_time[0].tolist() == [900, 100]
    assert np.allclose(by_sigma[0], [levels[0].sigma, levels[1].sigma])
    assert [list(set(y)) for _, y in plotted] == [[0], [1], [0], [1]]


def test_the_noisy_end_of_the_levels_is_at_the_left(schedule):
    picture = level_rows({"noisy": [schedule.level(999)], "clean": [schedule.level(0)]}, alt="")
    left_half = pixels(picture).shape[1] // 2
    noisy, clean = (where(picture, colour) for colour in (BLUE, ORANGE))
    for side in (noisy[:, 1] < left_half, noisy[:, 1] >= left_half):
        assert side.any()
    assert noisy[:, 1].min() < clean[:, 1].min() and noisy[:, 1].max() < clean[:, 1].max()


def test_near_is_dark_and_far_is_bright():
    picture = distance_map(["a", "b"], torch.tensor([[0.0, 1.0], [1.0, 0.0]]), alt="")
    page = pixels(picture)
    inside = page[:, : page.shape[1] * 3 // 4]
    dark, bright = (
        np.argwhere(np.abs(inside - np.array(c)).sum(-1) < 12)
        for c in ((68, 1, 84), (253, 231, 37))
    )
    assert len(dark) > 1000 and len(bright) > 1000
    assert dark[0][1] < bright[0][1]  # the first row begins with itself
