from itertools import pairwise

import pytest
import torch

from labml_sd.sampler import CLEAN, Heun, euler_step, heun_step, sample


def test_two_equal_slopes_give_eulers_step(schedule, randn):
    x, eps, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    torch.testing.assert_close(
        heun_step(x, eps, eps, here, there), euler_step(x, eps, here, there)
    )


def test_a_slope_that_changes_linearly_is_followed_exactly(schedule, randn, one_step):
    # d = a + b sigma does not depend on x, so x grows by the integral of d.
    x, a, b, here, there = randn(), randn(), randn(), schedule.level(800), schedule.level(600)
    stepped = one_step(Heun(), lambda x, level: a + b * level.sigma, x, here, there)
    moved = a * (there.sigma - here.sigma) + b * (there.sigma**2 - here.sigma**2) / 2
    expected = there.alpha_bar**0.5 * (x / here.alpha_bar**0.5 + moved)
    torch.testing.assert_close(stepped, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n_steps", [1, 2, 20])
def test_a_run_asks_at_both_ends_of_every_step_but_the_last(
    schedule, gaussian, randn, no_draw, n_steps
):
    denoise, levels = gaussian(2.0), Heun().levels(schedule, n_steps)
    sample(Heun(), denoise, randn(), levels, draw=no_draw, progress=False)
    times = [level.t for level in levels[:-1]]
    both_ends = [t for pair in pairwise(times) for t in pair]
    assert levels[-1] == CLEAN and denoise.asked_at == [*both_ends, times[-1]]


def test_the_error_falls_with_the_second_power_of_the_step(error_of, data):
    assert error_of.slope(Heun(), data) == pytest.approx(2, abs=0.25)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    heun_step(*given, schedule.level(9), schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
