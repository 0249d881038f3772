import math

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import (
    DPMpp2MSDE,
    DPMpp3MSDE,
    dpmpp_3m_sde_step,
    predict_x0,
    sample,
)
from labml_sd.sampler.solvers.dpmpp_3m_sde import mean_squared_time

TIMES = (900, 820, 700, 610)  # two past, here, there: no two steps alike


@pytest.fixture
def step_of_four(schedule, randn, evaluated):
    """x and x0 at the third of four levels, two past evaluations, and the last two levels."""
    levels = [schedule.level(t) for t in TIMES]
    past = [evaluated(level, randn(), randn()) for level in levels[:2]]
    x, eps = randn(), randn()
    return x, predict_x0(x, eps, levels[2]), past, *levels[2:]


@pytest.mark.holds("labml_sd.sampler.solvers.dpmpp_3m_sde.dpmpp_3m_sde_step")
@pytest.mark.parametrize("eta", [0, 0.4, 1])
def test_the_step_is_the_integral_of_the_parabola_through_three_predictions(
    step_of_four, randn, eta
):
    x, x0, past, here, there = step_of_four
    noise, step = randn(), there.half_log_snr - here.half_log_snr
    known = [past[0].level.half_log_snr, past[1].level.half_log_snr, here.half_log_snr]
    values = [past[0].x0, past[1].x0, x0]
    nodes, weights = np.polynomial.legendre.leggauss(30)
    moved = math.exp(-(1 + eta) * step) * x / math.sqrt(here.alpha_bar)
    for node, weight in zip(nodes, weights, strict=True):
        now = here.half_log_snr + step * (node + 1) / 2
        parabola = sum(
            value * math.prod((now - b) / (a - b) for b in known if b != a)
            for a, value in zip(known, values, strict=True)
        )
        left = math.exp(-(1 + eta) * (there.half_log_snr - now))
        moved = moved + float(weight * step / 2 * (1 + eta) * left) * parabola
    fresh = there.sigma * math.sqrt(1 - math.exp(-2 * eta * step)) * noise
    expected = math.sqrt(there.alpha_bar) * (moved + fresh)
    ours = dpmpp_3m_sde_step(x, x0, past, here, there, eta, noise)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", [0, 0.4, 1])
def test_k_diffusion_is_its_published_update(step_of_four, randn, eta):
    x, x0, past, here, there = step_of_four
    noise, h = randn(), there.half_log_snr - here.half_log_snr
    r0 = (here.half_log_snr - past[1].level.half_log_snr) / h
    r1 = (past[1].level.half_log_snr - past[0].level.half_log_snr) / h
    near, far = (x0 - past[1].x0) / r0, (past[1].x0 - past[0].x0) / r1
    first, second = near + (near - far) * r0 / (r0 + r1), (near - far) / (r0 + r1)
    h_eta = h * (1 + eta)
    phi_2 = math.expm1(-h_eta) / h_eta + 1
    phi_3 = phi_2 / h_eta - 0.5
    expected = math.exp(-h_eta) * x / math.sqrt(here.alpha_bar) - math.expm1(-h_eta) * x0
    expected = expected + phi_2 * first - phi_3 * second
    expected = expected + there.sigma * math.sqrt(-math.expm1(-2 * h * eta)) * noise
    ours = dpmpp_3m_sde_step(x, x0, past, here, there, eta, noise, "k_diffusion")
    torch.testing.assert_close(
        ours, math.sqrt(there.alpha_bar) * expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("solver_type", "power"), [("exact", 4), ("k_diffusion", 3)])
def test_the_error_of_one_step_falls_with_a_power_more_than_the_order(
    schedule, gaussian, randn, no_draw, evaluated, one_step, solver_type, power
):
    # The past is exact: in a run the first two steps would hide the order. With eta 0 the end
    # is known.
    denoise, x, sizes, errors = gaussian(0.5), randn(), [0.08, 0.04, 0.02, 0.01], []
    for size in sizes:
        levels = [schedule.at_sigma(2 * math.exp(-i * size)) for i in range(4)]
        xs = [denoise.exact(x, levels[0], level) for level in levels]
        history = [
            evaluated(level, x, denoise.eps(x, level))
            for level, x in zip(levels[:2], xs, strict=False)
        ]
        sampler = DPMpp3MSDE(eta=0, solver_type=solver_type)
        step = one_step(sampler, denoise.eps, xs[2], levels[2], levels[3], no_draw, history)
        errors.append(((step - xs[3]).abs().max() / xs[3].abs().max()).item())
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(power, abs=0.25)


def test_where_three_predictions_lie_on_a_line_it_is_diffusers_third_order_update(
    schedule, randn, peer, evaluated
):
    # Off the line it is not: the peer's last coefficient has -1/2 where the integral has +1/2.
    before, start, here, there = (schedule.level(t) for t in TIMES)
    x, x0, slope, noise = randn(), randn(), randn(), randn()
    predicted = [
        x0 + (level.half_log_snr - here.half_log_snr) * slope for level in (before, start)
    ]
    past = [
        evaluated(level, math.sqrt(level.alpha_bar) * value, torch.zeros_like(x))
        for level, value in zip((before, start), predicted, strict=True)
    ]
    scheduler = peer(
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver++",
    )
    sigmas = [level.sigma for level in (before, start, here, there)]
    scheduler.sigmas, scheduler._step_index = torch.tensor(sigmas, dtype=torch.float64), 2
    theirs = scheduler.multistep_dpm_solver_third_order_update(
        [*predicted, x0], sample=x, noise=noise
    )
    ours = dpmpp_3m_sde_step(x, x0, past, here, there, 1, noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("big_h", [1e-2, 0.1, 1.0, 8.0])
def test_the_mean_squared_time_is_its_integral(big_h):
    nodes, weights = np.polynomial.legendre.leggauss(40)
    tau, weights = (nodes + 1) / 2, weights / 2
    density = big_h * np.exp(-big_h * (1 - tau)) / -np.expm1(-big_h)
    assert mean_squared_time(big_h) == pytest.approx(
        (weights * density * tau**2).sum(), rel=1e-9
    )


def test_the_first_two_steps_are_those_of_2m_with_heun(schedule, gaussian, randn):
    x, noises, results = randn(), [randn(), randn()], []
    for sampler in (DPMpp3MSDE(), DPMpp2MSDE(solver_type="heun")):
        stream, levels = iter(noises), sampler.levels(schedule, 9)[:3]
        draw = stream.__next__
        results.append(sample(sampler, gaussian(0.5), x, levels, draw=draw, progress=False))
    assert torch.equal(*results)


def test_an_unknown_solver_type_is_refused_with_the_list():
    with pytest.raises(
        GenerationError, match=r"^solver_type is 'heun'; choose one of exact, k_diffusion$"
    ):
        DPMpp3MSDE(solver_type="heun")


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DPMpp3MSDE(**given)
