import numpy as np
import torch
from pictures import pixels
from PIL import Image

from labml_sd.config import ScheduleConfig
from labml_sd.figures import mask_cells, mask_outline, strength_chart
from labml_sd.figures.edits import BLACK, WHITE
from labml_sd.sampler import Schedule, get_sampler

RED, BLUE = (200, 0, 0), (0, 0, 200)


def flat(colour, size=(16, 8)):
    return Image.new("RGB", size, colour)


def left_half(width: int = 16, height: int = 8) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def test_the_strength_chart_fills_the_steps_that_are_run_and_says_where_they_start(drawn):
    levels = get_sampler("dpmpp_2m").levels(Schedule(ScheduleConfig()), 4)
    strength_chart(levels, [0, 0.5, 1])
    (panel,) = drawn[0].axes
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
    strength_chart(levels, [0.01])
    assert drawn[0].axes[0].texts[0].get_text().startswith("1 step from t = 249")


def test_the_outline_runs_along_the_border_of_the_mask_only():
    page = np.asarray(mask_outline(flat(RED), left_half()))
    assert (page[:, 7] == WHITE).all()
    assert (page[:, 8] == BLACK).all()
    assert (page[:, 9:] == RED).all()
    assert (page[1:-1, 1:7] == RED).all()


def test_painted_cells_are_tinted_and_the_others_are_not():
    cells = torch.zeros(1, 1, 2, 4)
    cells[..., :, :2] = 1
    page = pixels(mask_cells(flat(BLUE, (32, 16)), left_half(32, 16), cells, scale=4))
    assert page.shape == (64, 128, 3)
    inside, outside = page[4:28, 4:28], page[4:28, 100:124]
    assert (outside == BLUE).all()
    assert (inside[..., 0] > 100).all()
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == 1
