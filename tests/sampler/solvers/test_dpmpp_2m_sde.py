import math

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import (
    CLEAN,
    DPMpp2M,
    DPMpp2MSDE,
    dpmpp_2m_sde_step,
    euler_a_step,
    predict_x0,
    sample,
)
from labml_sd.sampler.solvers.dpmpp_2m_sde import mean_time, sde_first_order_step


@pytest.mark.parametrize("eta", [0, 1])
def test_the_first_order_step_is_euler_ancestral_with_eta_0_and_1(schedule, randn, eta):
    x, eps, noise, here, there = (
        randn(),
        randn(),
        randn(),
        schedule.level(700),
        schedule.level(600),
    )
    step = sde_first_order_step(x, predict_x0(x, eps, here), here, there, eta, noise)
    euler = euler_a_step(x, eps, here, there, eta, noise)
    torch.testing.assert_close(step, euler, rtol=1e-12, atol=1e-12)


@pytest.mark.holds("labml_sd.sampler.solvers.dpmpp_2m_sde.sde_first_order_step")
@pytest.mark.parametrize("eta", [0, 0.3, 1])
def test_the_first_order_step_solves_its_equation(schedule, eta):
    # dx = (1 + eta) (D - x) dlambda + sqrt(2 eta) sigma dW: mean and variance by small Euler
    # steps.
    here, there = schedule.level(500), schedule.level(400)
    lambdas = np.linspace(here.half_log_snr, there.half_log_snr, 40_001)
    step, mean, variance = lambdas[1] - lambdas[0], 0.7, 0.0
    for middle in lambdas[:-1] + step / 2:
        mean += step * (1 + eta) * (0.2 - mean) * (1 - step * (1 + eta) / 2)
        variance += step * (2 * eta * math.exp(-2 * middle) - 2 * (1 + eta) * variance)
    one = torch.ones(1, 1, 1, 1).double()
    scale = math.sqrt(there.alpha_bar)
    drift = sde_first_order_step(
        0.7 * math.sqrt(here.alpha_bar) * one, 0.2 * one, here, there, eta
    )
    noise = sde_first_order_step(0 * one, 0 * one, here, there, eta, one)
    assert drift.item() / scale == pytest.approx(mean, rel=1e-8)
    assert (noise.item() / scale) ** 2 == pytest.approx(variance, rel=1e-4)


@pytest.mark.holds("labml_sd.sampler.solvers.dpmpp_2m_sde.mean_time")
@pytest.mark.parametrize("big_h", [1e-3, 0.1, 1.0, 8.0])
def test_the_mean_time_is_its_integral(big_h):
    nodes, weights = np.polynomial.legendre.leggauss(40)
    tau, weights = (nodes + 1) / 2, weights / 2
    density = big_h * np.exp(-big_h * (1 - tau)) / -np.expm1(-big_h)
    assert mean_time(big_h) == pytest.approx((weights * density * tau).sum(), rel=1e-9)


def test_eta_zero_is_dpmpp_2m(schedule, gaussian, randn, no_draw):
    x, results = randn(), []
    for sampler in (DPMpp2MSDE(eta=0), DPMpp2M()):
        levels = sampler.levels(schedule, 12)
        results.append(sample(sampler, gaussian(0.5), x, levels, draw=no_draw, progress=False))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.holds("labml_sd.sampler.solvers.dpmpp_2m_sde.dpmpp_2m_sde_step")
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # in their tables
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
@pytest.mark.parametrize("n_steps", [2, 5, 20])
def test_a_run_is_diffusers_on_its_levels(
    gaussian, randn, peer, levels_of, solver_type, n_steps
):
    x, noises, denoise = randn(), [randn() for _ in range(n_steps)], gaussian(0.5)
    scheduler = peer(
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        noises,
        algorithm_type="sde-dpmsolver++",
        solver_type=solver_type,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(n_steps)
    levels, stream = levels_of(scheduler.sigmas), iter(noises)
    sampler = DPMpp2MSDE(solver_type=solver_type)
    ours = sample(sampler, denoise, x, levels, draw=lambda: next(stream), progress=False)
    for t, here in zip(scheduler.timesteps, levels[:-1], strict=True):
        x = scheduler.step(denoise.eps(x, here), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
def test_where_both_predictions_agree_it_is_the_first_order_step(schedule, randn, solver_type):
    x, x0, noise = randn(), randn(), randn()
    before, here, there = (schedule.level(t) for t in (900, 800, 600))
    step = dpmpp_2m_sde_step(x, x0, x0, before, here, there, 0.5, noise, solver_type)
    assert torch.equal(step, sde_first_order_step(x, x0, here, there, 0.5, noise))


@pytest.mark.holds(
    "labml_sd.sampler.solvers.dpmpp_2m_sde.sde_first_order_step",
    "labml_sd.sampler.solvers.dpmpp_2m_sde.dpmpp_2m_sde_step",
)
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
def test_the_second_order_step_is_its_equation(schedule, randn, solver_type):
    x, x0, x0_before, noise, eta = randn(), randn(), randn(), randn(), 0.4
    before, here, there = (schedule.level(t) for t in (900, 800, 600))
    h_before, h = math.log(before.sigma / here.sigma), math.log(here.sigma / there.sigma)
    big_h = (1 + eta) * h
    tau = 0.5 if solver_type == "midpoint" else 1 / (1 - math.exp(-big_h)) - 1 / big_h
    ahead = x0 + tau / (h_before / h) * (x0 - x0_before)
    moved = math.exp(-big_h) * x / math.sqrt(here.alpha_bar) + (1 - math.exp(-big_h)) * ahead
    moved = moved + there.sigma * math.sqrt(1 - math.exp(-2 * eta * h)) * noise
    step = dpmpp_2m_sde_step(x, x0, x0_before, before, here, there, eta, noise, solver_type)
    torch.testing.assert_close(step, math.sqrt(there.alpha_bar) * moved, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("eta", [0, 1])
def test_the_step_into_clean_is_the_predicted_latent(schedule, randn, eta):
    x0 = randn()
    assert torch.equal(
        sde_first_order_step(randn(), x0, schedule.level(40), CLEAN, eta, randn()), x0
    )


def test_an_unknown_solver_type_is_refused_with_the_list():
    with pytest.raises(
        GenerationError, match=r"^solver_type is 'euler'; choose one of midpoint, heun$"
    ):
        DPMpp2MSDE(solver_type="euler")


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DPMpp2MSDE(**given)
