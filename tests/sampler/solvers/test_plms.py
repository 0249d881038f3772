import pytest
import torch

from labml_sd.sampler import (
    CLEAN,
    DDIM,
    PLMS,
    Level,
    ddim_step,
    plms_step,
    predict_x0,
    sample,
)
from labml_sd.sampler.solvers.plms import plms_eps


@pytest.mark.holds("labml_sd.sampler.solvers.plms.plms_eps")
@pytest.mark.parametrize("n_past", [2, 3, 4])
def test_the_mean_of_a_polynomial_over_the_step_ahead_is_exact(randn, n_past):
    # Taken at -3 .. 0, the mean over 0 .. 1 of u^power is 1 / (power + 1).
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for power in range(n_past):
        past = [float(u) ** power * one for u in range(1 - n_past, 1)]
        assert plms_eps(past).item() == pytest.approx(1 / (power + 1), rel=1e-12)


@pytest.mark.holds("labml_sd.sampler.solvers.plms.plms_eps")
def test_the_step_is_ddims_with_the_extrapolated_eps(schedule, randn):
    x, past = randn(), [randn() for _ in range(4)]
    here, there = schedule.level(800), schedule.level(750)
    eps = (55 * past[3] - 59 * past[2] + 37 * past[1] - 9 * past[0]) / 24
    ddim = ddim_step(predict_x0(x, eps, here), eps, there)
    torch.testing.assert_close(plms_step(x, past, here, there), ddim, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 2, 20])
def test_a_run_asks_twice_in_the_first_step_and_once_in_the_others(
    schedule, gaussian, randn, no_draw, n_steps
):
    denoise, levels = gaussian(2.0), PLMS().levels(schedule, n_steps)
    sample(PLMS(), denoise, randn(), levels, draw=no_draw, progress=False)
    times = [level.t for level in levels]
    assert denoise.asked_at == [times[0], times[1], *times[1:-1]]


def test_the_first_step_is_heuns(schedule, gaussian, randn, one_step):
    x, denoise, here, there = randn(), gaussian(2.0), schedule.level(951), schedule.level(901)
    eps = denoise.eps(x, here)
    eps_there = denoise.eps(ddim_step(predict_x0(x, eps, here), eps, there), there)
    mean = (eps + eps_there) / 2
    step = one_step(PLMS(), denoise.eps, x, here, there)
    torch.testing.assert_close(step, ddim_step(predict_x0(x, mean, here), mean, there))


def test_a_first_step_into_clean_evaluates_once(schedule, gaussian, randn, one_step):
    denoise = gaussian(2.0)
    one_step(PLMS(), denoise.eps, randn(), schedule.level(0), CLEAN)
    assert denoise.asked_at == [0.0]


@pytest.mark.parametrize("spacing", ["trailing", "uniform", "quadratic", "karras"])
@pytest.mark.parametrize("n_steps", [1, 30, 1000])
def test_a_run_ends_where_ddim_ends(schedule, spacing, n_steps):
    assert PLMS(spacing).levels(schedule, n_steps) == DDIM(spacing).levels(schedule, n_steps)


def test_the_error_falls_with_the_second_power_of_the_step(schedule, error_of, data):
    def even_in_time(n_steps: int) -> list[Level]:
        return [schedule.level(999 - 800 * i / n_steps) for i in range(n_steps + 1)]

    slope = error_of.slope(PLMS(), data, [24, 48, 96], even_in_time)
    assert slope == pytest.approx(2, abs=0.25)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    plms_step(given[0], given[1:], schedule.level(9), schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
