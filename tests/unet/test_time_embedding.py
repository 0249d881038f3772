import math

import pytest
import torch

from labml_sd.unet.time_embedding import sinusoids, time_mlp


@pytest.mark.holds("labml_sd.unet.time_embedding.sinusoids")
def test_waves_follow_the_equation_cosines_first():
    t, n = torch.tensor([0.0, 1.0, 12.5, 999.0], dtype=torch.float64), 4
    waves = sinusoids(t, 2 * n)
    for row, time in enumerate(t.tolist()):
        omega = [10000 ** (-i / n) for i in range(n)]
        expected = [math.cos(time * w) for w in omega] + [math.sin(time * w) for w in omega]
        assert waves[row].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_time_zero_is_all_ones_then_all_zeros():
    assert sinusoids(torch.tensor([0]), 6).tolist() == [[1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    "given, computed",
    [
        (torch.int64, torch.float32),
        (torch.int32, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_waves_are_float32_or_better(given, computed):
    assert sinusoids(torch.tensor([3]).to(given), 4).dtype == computed


def test_whole_and_real_times_give_the_same_waves():
    assert torch.equal(
        sinusoids(torch.tensor([7, 999]), 8), sinusoids(torch.tensor([7.0, 999.0]), 8)
    )


def test_all_times_of_the_schedule_are_told_apart():
    waves = sinusoids(torch.arange(1000), 320)
    assert (waves[1:] - waves[:-1]).norm(dim=1).min() > 0.1


def test_the_mlp_is_linear_silu_linear_and_four_times_as_wide():
    mlp = time_mlp(6)
    waves = sinusoids(torch.tensor([3, 500]), 6)
    assert mlp(waves).shape == (2, 24)
    assert torch.equal(mlp(waves), mlp[2](torch.nn.functional.silu(mlp[0](waves))))
