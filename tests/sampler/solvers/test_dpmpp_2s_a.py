import math
from itertools import pairwise

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, DPMpp2SA, EulerA, dpmpp_2s_a_step, predict_x0, sample


def published_run(eps_of, x_sigma, levels, noises):
    """DPM-Solver++(2S) ancestral as k-diffusion has it: x in sigma, time -log sigma, eta 1."""
    for (here, there), noise in zip(pairwise(levels), noises, strict=True):
        now, to = here.sigma, there.sigma
        eps = eps_of(x_sigma, here)
        clean = predict_x0(x_sigma * math.sqrt(here.alpha_bar), eps, here)
        if to == 0:
            return clean
        up = min(to, math.sqrt(to**2 * (now**2 - to**2) / now**2))
        down = math.sqrt(to**2 - up**2)
        start, end = -math.log(now), -math.log(down)
        h, middle = end - start, start + (end - start) / 2
        x_middle = math.exp(-middle) / math.exp(-start) * x_sigma - math.expm1(-h / 2) * clean
        clean = predict_x0(
            x_middle * math.sqrt(here.between.alpha_bar),
            eps_of(x_middle, here.between),
            here.between,
        )
        x_sigma = (
            math.exp(-end) / math.exp(-start) * x_sigma - math.expm1(-h) * clean + up * noise
        )
    return x_sigma


@pytest.mark.holds("labml_sd.sampler.solvers.dpmpp_2s_a.dpmpp_2s_a_step")
@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_a_run_is_the_published_one(schedule, gaussian, randn, n_steps):
    x, noises, denoise = randn(), [randn() for _ in range(n_steps)], gaussian(0.5)
    levels, stream = DPMpp2SA().levels(schedule, n_steps), iter(noises)
    ours = sample(DPMpp2SA(), denoise, x, levels, draw=lambda: next(stream), progress=False)

    def on_x_sigma(x_sigma, level):
        return denoise.eps(x_sigma * math.sqrt(level.alpha_bar), level)

    theirs = published_run(on_x_sigma, x / math.sqrt(levels[0].alpha_bar), levels, noises)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_eta_zero_is_diffusers_second_order_singlestep_solver(
    schedule, gaussian, randn, no_draw, peer
):
    sampler, x, denoise = DPMpp2SA(eta=0), randn(), gaussian(0.5)
    levels = sampler.levels(schedule, 9)[:-1]  # the peer has no step into CLEAN of this kind
    ours = sample(sampler, denoise, x, levels, draw=no_draw, progress=False)
    scheduler = peer(
        "scheduling_dpmsolver_singlestep",
        "DPMSolverSinglestepScheduler",
        solver_order=2,
        final_sigmas_type="sigma_min",
    )
    for here, there in pairwise(levels):
        # Two of its steps, to the level between and to the next, are one of ours.
        scheduler.sigmas = torch.tensor(
            [here.sigma, here.between.sigma, there.sigma], dtype=torch.float64
        )
        x0 = predict_x0(x, denoise.eps(x, here), here)
        scheduler._step_index = 0
        between = scheduler.dpm_solver_first_order_update(x0, sample=x)
        x0_between = predict_x0(between, denoise.eps(between, here.between), here.between)
        scheduler._step_index = 1
        x = scheduler.singlestep_dpm_solver_second_order_update([x0, x0_between], sample=x)
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


def test_where_the_prediction_does_not_change_it_is_euler_ancestral(schedule, randn, one_step):
    x, eps, noise = randn(), randn(), randn()
    here, there = schedule.level(700), schedule.level(600)
    step = dpmpp_2s_a_step(x, predict_x0(x, eps, here), here, there, 1, noise)
    euler = one_step(EulerA(), lambda *_: eps, x, here, there, lambda: noise)
    torch.testing.assert_close(step, euler, rtol=1e-12, atol=1e-12)


def test_the_step_into_clean_is_the_predicted_latent(schedule, gaussian, randn, one_step):
    x, here, denoise = randn(), schedule.level(40), gaussian(2.0)
    step = one_step(DPMpp2SA(), denoise.eps, x, here, CLEAN)
    assert torch.equal(step, predict_x0(x, denoise.eps(x, here), here))


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DPMpp2SA(**given)
