import pytest
import torch
from torch import nn

from labml_sd.figures import same


class Scaled(nn.Module):
    """`factor` times x, plus `offset`."""

    def __init__(self, factor: float, offset: float = 0.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x + self.offset


def x(**options):
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(0), **options)


def test_weights_are_copied_and_equal_modules_pass(capsys):
    mine = Scaled(1.0)
    same(mine, Scaled(3.0), x())
    assert mine.factor == 3
    assert capsys.readouterr().out == "the same: [2, 3], to ten digits\n"


def test_functions_are_compared_in_float64(capsys):
    same(lambda x: (x * 3) / 3, lambda x: x, x(dtype=torch.float32))
    assert "the same" in capsys.readouterr().out


def test_another_result_is_an_error_with_its_size():
    with pytest.raises(AssertionError, match=r"they differ by 1\.0e"):
        same(Scaled(1.0), Scaled(1.0, offset=1.0), x())


def test_a_difference_that_only_small_inputs_show_is_found():
    # As a wrong epsilon does: 1e-13 of values near 1000, but 1e-8 of those near 0.01.
    def theirs(x):
        return torch.where(x.abs() > 1, x, x + 1e-8)

    with pytest.raises(AssertionError, match="not the same"):
        same(lambda x: x, theirs, torch.full((1,), 2.0))


def test_another_shape_is_not_the_same():
    with pytest.raises(AssertionError, match="not the same"):
        same(lambda x: x[:1], lambda x: x[:1].expand(2, 3), torch.ones(2, 3))


def test_nan_is_not_the_same():
    with pytest.raises(AssertionError, match="not the same"):
        same(lambda x: x * torch.nan, lambda x: x, x())


def test_a_weight_that_does_not_fit_is_named():
    with pytest.raises(RuntimeError, match="weight"):
        same(nn.Linear(2, 2), nn.Linear(3, 2), torch.ones(1, 3))


def test_token_ids_stay_whole_numbers(capsys):
    same(nn.Embedding(5, 2), nn.Embedding(5, 2), torch.tensor([[1, 4]]))
    assert capsys.readouterr().out == "the same: [1, 2, 2], to ten digits\n"
