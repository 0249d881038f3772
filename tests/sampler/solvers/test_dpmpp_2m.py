import numpy as np
import pytest
import torch

from labml_sd.sampler import CLEAN, DPMpp2M, ddim_step, dpmpp_2m_step, sample
from labml_sd.sampler.schedule import predict_x0
from labml_sd.sampler.solvers.dpmpp_2m import dpmpp_first_order_step


def test_the_first_order_step_is_ddim(schedule, randn):
    x, eps, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    x0 = predict_x0(x, eps, here)
    step = dpmpp_first_order_step(x, x0, here, there)
    torch.testing.assert_close(step, ddim_step(x0, eps, there), rtol=1e-11, atol=1e-11)


def test_the_second_order_step_is_the_first_where_both_predictions_agree(schedule, randn):
    x, x0 = randn(), randn()
    before, here, there = (schedule.level(t) for t in (900, 800, 600))
    second = dpmpp_2m_step(x, x0, x0, before, here, there)
    torch.testing.assert_close(
        second, dpmpp_first_order_step(x, x0, here, there), rtol=1e-12, atol=1e-12
    )


@pytest.mark.holds(
    "labml_sd.sampler.solvers.dpmpp_2m.dpmpp_first_order_step",
    "labml_sd.sampler.solvers.dpmpp_2m.dpmpp_2m_step",
)
def test_the_second_order_step_is_algorithm_2(schedule, randn):
    x, x0, x0_before = randn(), randn(), randn()
    levels = [schedule.level(t) for t in (900, 800, 600)]
    lambdas = [0.5 * np.log(level.alpha_bar / (1 - level.alpha_bar)) for level in levels]
    h_before, h = np.diff(lambdas)
    r = h_before / h
    ahead = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
    sigma_ratio = np.sqrt((1 - levels[2].alpha_bar) / (1 - levels[1].alpha_bar))
    expected = (
        float(sigma_ratio) * x - float(np.sqrt(levels[2].alpha_bar) * (np.exp(-h) - 1)) * ahead
    )
    torch.testing.assert_close(
        dpmpp_2m_step(x, x0, x0_before, *levels), expected, rtol=1e-11, atol=1e-11
    )


def test_the_step_into_clean_is_the_predicted_latent(schedule, randn):
    x0, here = randn(), schedule.level(40)
    assert torch.equal(dpmpp_first_order_step(randn(), x0, here, CLEAN), x0)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 20, 334])
def test_every_count_runs_to_a_finite_clean_end(schedule, gaussian, randn, no_draw, n_steps):
    levels = DPMpp2M().levels(schedule, n_steps)
    z = sample(DPMpp2M(), gaussian(2.0), randn(), levels, draw=no_draw, progress=False)
    assert levels[-1] == CLEAN and z.isfinite().all()


def test_the_error_falls_with_the_second_power_of_the_step(error_of, data):
    # The levels end above zero: the step into CLEAN is first order and would hide the others.
    assert error_of.slope(DPMpp2M(), data) == pytest.approx(2, abs=0.25)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    dpmpp_2m_step(*given, schedule.level(20), schedule.level(9), schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
