import torch

from labml_sd.pipeline.control import Window, sum_residuals
from labml_sd.unet.residuals import NO_RESIDUALS, UNetResiduals


def full(value, rows=1):
    return torch.full((rows, 2, 3, 3), float(value))


def test_residuals_of_one_control_are_its_own():
    one = UNetResiduals(features={1: full(1)}, skips=[full(2)], middle=full(3))
    assert sum_residuals([one]) is one


def test_residuals_of_several_controls_are_added_place_by_place():
    total = sum_residuals(
        [
            UNetResiduals(features={1: full(1), 2: full(2)}, skips=[], middle=None),
            UNetResiduals(features={}, skips=[full(3), full(4)], middle=full(5)),
            UNetResiduals(
                features={2: full(6), 3: full(7)}, skips=[full(8)] * 2, middle=full(9)
            ),
            NO_RESIDUALS,
        ]
    )
    assert {i: f.unique().item() for i, f in total.features.items()} == {1: 1, 2: 8, 3: 7}
    assert [skip.unique().item() for skip in total.skips] == [11, 12]
    assert total.middle.unique().item() == 14


def test_one_may_have_a_row_for_each_image_and_another_one_for_each_prompt():
    each, prompts = full(1, rows=2), full(0, rows=4) + torch.arange(4.0)[:, None, None, None]
    middles = [UNetResiduals(features={}, skips=(), middle=m) for m in (each, prompts)]
    assert torch.equal(sum_residuals(middles).middle, prompts + 1)


def test_a_window_is_a_range_of_rows_and_of_columns():
    x = torch.arange(2 * 4 * 5.0).reshape(1, 2, 4, 5)
    assert torch.equal(Window(slice(1, 3), slice(0, 2)).of(x), x[:, :, 1:3, 0:2])
