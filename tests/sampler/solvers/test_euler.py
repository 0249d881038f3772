import pytest
import torch

from labml_sd.sampler import CLEAN, Euler, ddim_step, euler_step
from labml_sd.sampler.schedule import predict_x0


@pytest.mark.holds("labml_sd.sampler.solvers.euler.euler_step")
def test_a_step_is_straight_in_sigma(schedule, randn):
    x, slope, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    before, after = (
        x / here.alpha_bar**0.5,
        euler_step(x, slope, here, there) / there.alpha_bar**0.5,
    )
    expected = before + (there.sigma - here.sigma) * slope
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-12)


def test_along_eps_it_is_ddims_step(schedule, randn):
    x, eps, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    step = euler_step(x, eps, here, there)
    ddim = ddim_step(predict_x0(x, eps, here), eps, there)
    torch.testing.assert_close(step, ddim, rtol=1e-11, atol=1e-11)


def test_the_step_into_clean_is_the_predicted_latent(schedule, randn):
    x, eps, here = randn(), randn(), schedule.level(40)
    expected = predict_x0(x, eps, here)
    torch.testing.assert_close(
        euler_step(x, eps, here, CLEAN), expected, rtol=1e-12, atol=1e-12
    )


def test_a_run_ends_at_clean(schedule):
    assert Euler().levels(schedule, 20)[-1] == CLEAN


def test_the_error_falls_with_the_first_power_of_the_step(error_of, data):
    assert error_of.slope(Euler(), data) == pytest.approx(1, abs=0.25)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn()]
    before = [tensor.clone() for tensor in given]
    euler_step(*given, schedule.level(9), schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
