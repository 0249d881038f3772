import io
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from labml_sd.config import ScheduleConfig
from labml_sd.figures import (
    Picture,
    edits,
    mask_cells,
    mask_outline,
    show_sizes,
    step_animation,
    strength_chart,
)
from labml_sd.figures.edits import BLACK, GAP, HEAD, LINE, WHITE, parts_chart
from labml_sd.sampler import Schedule, get_sampler

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def flat(colour, size=(16, 8)):
    return Image.new("RGB", size, colour)


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The matplotlib figure, before it becomes a PNG."""
    kept: dict[str, Any] = {}

    def keep(figure: Figure, alt: str) -> Picture:
        kept["panel"] = figure.axes[0]
        return Picture(b"", alt)

    monkeypatch.setattr(edits, "from_figure", keep)
    return kept


def left_half(width: int = 16, height: int = 8) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def test_the_bars_of_parts_are_as_long_as_the_counts_with_the_number_beside(drawn):
    parts_chart({"a": 1_500_000, "b": 3_000_000}, alt="two bars")
    panel = drawn["panel"]
    assert [bar.get_width() for bar in panel.patches] == [1_500_000, 3_000_000]
    assert [text.get_text() for text in panel.texts] == ["1.50 M", "3.00 M"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b"]


def test_the_strength_chart_fills_the_steps_that_are_run_and_says_where_they_start(drawn):
    levels = get_sampler("dpmpp_2m").levels(Schedule(ScheduleConfig()), 4)
    strength_chart(levels, [0, 0.5, 1], alt="three rows")
    panel = drawn["panel"]
    filled = [patch.get_facecolor() != (1.0, 1.0, 1.0, 1.0) for patch in panel.patches]
    assert [filled[4 * row : 4 * row + 4] for row in range(3)] == [
        [False] * 4,
        [False, False, True, True],
        [True] * 4,
    ]
    said = [text.get_text() for text in panel.texts]
    assert said[0] == "no step: all of the picture is left"
    assert (
        said[1]
        == f"2 steps from t = 499, {levels[2].alpha_bar ** 0.5:.3f} of the picture is left"
    )
    assert said[2].startswith("4 steps from t = 999, 0.068")


def test_one_step_is_not_called_steps(drawn):
    levels = get_sampler("dpmpp_2m").levels(Schedule(ScheduleConfig()), 4)
    strength_chart(levels, [0.01], alt="one row")
    assert drawn["panel"].texts[0].get_text().startswith("1 step from t = 249")


def test_pictures_of_different_sizes_keep_their_pixels_and_the_row_breaks_where_it_is_full():
    small, large = flat(RED, (10, 10)), flat(BLUE, (40, 20))
    page = np.asarray(
        opened(
            show_sizes([small, large, small], ["a", "b", "c"], scale=2, width=150, alt="three")
        )
    )
    top = GAP + LINE
    assert (page[top : top + 20, GAP : GAP + 20] == RED).all()
    x = 3 * GAP + 20
    assert (page[top : top + 40, x : x + 80] == BLUE).all()
    second = top + 40 + GAP + LINE
    assert (page[second : second + 20, GAP : GAP + 20] == RED).all()
    assert page.shape[1] <= 150
    assert (page[GAP : GAP + LINE, GAP : GAP + 10] < 128).any()


def test_a_film_shows_the_columns_of_each_step_with_its_caption():
    film = opened(
        step_animation(
            {"x": [flat(RED), flat(GREEN)], "y": [flat(BLUE)] * 2}, ["one", "two"], alt="a film"
        )
    )
    assert film.n_frames == 2
    for k, colour in enumerate((RED, GREEN)):
        film.seek(k)
        page = np.asarray(film.convert("RGB"))
        assert (page[HEAD : HEAD + 16, GAP : GAP + 32] == colour).all()
        assert (page[HEAD : HEAD + 16, 2 * GAP + 32 : 2 * GAP + 64] == BLUE).all()
        assert (page[:HEAD] < 128).any()
        assert (page[HEAD + 16 :] < 128).any()


def test_the_outline_runs_along_the_border_of_the_mask_only():
    pixels = np.asarray(mask_outline(flat(RED), left_half(), scale=2))
    assert (pixels[:, 15] == WHITE).all()
    assert (pixels[:, 16] == BLACK).all()
    assert (pixels[:, 17:] == RED).all()
    assert (pixels[1:-1, 1:15] == RED).all()


def test_painted_cells_are_tinted_and_the_others_are_not():
    cells = torch.zeros(1, 1, 2, 4)
    cells[..., :, :2] = 1
    page = np.asarray(
        opened(mask_cells(flat(BLUE, (32, 16)), left_half(32, 16), cells, scale=4, alt="cells"))
    )
    assert page.shape == (64, 128, 3)
    inside, outside = page[4:28, 4:28], page[4:28, 100:124]
    assert (outside == BLUE).all()
    assert (inside[..., 0] > 100).all()
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == 1
