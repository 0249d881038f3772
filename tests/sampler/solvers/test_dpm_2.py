import math

import pytest
import torch

from labml_sd.sampler import CLEAN, DPM2, dpm_2_step, euler_step, sample
from labml_sd.sampler.between import with_between


@pytest.mark.holds("labml_sd.sampler.solvers.dpm_2.dpm_2_step")
def test_the_step_is_algorithm_1(schedule, gaussian, randn, one_step):
    x, denoise = randn(), gaussian(2.0)
    here, there = with_between(schedule, [schedule.level(800), schedule.level(600)])
    between = here.between
    alpha, noise = (
        {level.t: f(level) for level in (here, between, there)} for f in (signal_of, noise_of)
    )
    h = there.half_log_snr - here.half_log_snr
    kept = alpha[between.t] / alpha[here.t] * x
    u = kept - noise[between.t] * math.expm1(h / 2) * denoise.eps(x, here)
    kept = alpha[there.t] / alpha[here.t] * x
    expected = kept - noise[there.t] * math.expm1(h) * denoise.eps(u, between)
    stepped = one_step(DPM2(), denoise.eps, x, here, there)
    torch.testing.assert_close(stepped, expected, rtol=1e-11, atol=1e-11)


def signal_of(level):
    return level.alpha_bar**0.5


def noise_of(level):
    return (1 - level.alpha_bar) ** 0.5


def test_a_step_from_a_level_without_one_between_is_eulers(schedule, gaussian, randn, one_step):
    x, denoise, here, there = randn(), gaussian(2.0), schedule.level(800), schedule.level(600)
    stepped = one_step(DPM2(), denoise.eps, x, here, there)
    assert torch.equal(stepped, euler_step(x, denoise.eps(x, here), here, there))


@pytest.mark.parametrize("n_steps", [1, 2, 20])
def test_a_run_asks_at_and_between_the_levels_but_once_before_clean(
    schedule, gaussian, randn, no_draw, n_steps
):
    denoise, levels = gaussian(2.0), DPM2().levels(schedule, n_steps)
    sample(DPM2(), denoise, randn(), levels, draw=no_draw, progress=False)
    expected = [t for level in levels[:-2] for t in (level.t, level.between.t)]
    assert levels[-1] == CLEAN and denoise.asked_at == [*expected, levels[-2].t]


def test_the_error_falls_with_the_second_power_of_the_step(schedule, error_of, data):
    slope = error_of.slope(
        DPM2(), data, make_levels=lambda n: with_between(schedule, error_of.levels(n))
    )
    assert slope == pytest.approx(2, abs=0.25)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn()]
    before = [tensor.clone() for tensor in given]
    dpm_2_step(*given, schedule.level(9), schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
