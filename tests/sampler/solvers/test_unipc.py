import math

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, UniPC, sample, unic_step, unip_step
from labml_sd.sampler.solvers.dpmpp_2m import dpmpp_first_order_step
from labml_sd.sampler.solvers.unipc import moments, term_weights


@pytest.fixture
def answer(randn, evaluated):
    """An evaluation at a level: with a given clean latent, or with a random one."""

    def make(level, x0=None):
        x = randn()
        eps = (
            randn()
            if x0 is None
            else (x - level.alpha_bar**0.5 * x0) / (1 - level.alpha_bar) ** 0.5
        )
        return evaluated(level, x, eps)

    return make


@pytest.mark.parametrize("h", [1e-6, 0.01, 0.999999, 1.0, 3.0, 12.0])
def test_the_moments_are_the_integrals(h):
    nodes, weights = np.polynomial.legendre.leggauss(40)
    s = (nodes + 1) / 2
    exact = [float(weights @ (np.exp(-(1 - s) * h) * s**j)) / 2 for j in (1, 2, 3)]
    assert moments(h, 3) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("nodes", [[-1.0, -2.5], [-1.0, 1.0], [-2.0, -1.0, 1.0]])
def test_two_weights_or_more_meet_the_conditions_of_theorem_3_1(nodes):
    weights = term_weights(0.7, nodes, "bh2")
    for j, moment in enumerate(moments(0.7, len(nodes))):
        met = sum(c * r**j for c, r in zip(weights, nodes, strict=True))
        assert met == pytest.approx(moment, rel=1e-12)


def test_a_single_weight_is_half_of_b():
    assert term_weights(0.7, [-1.3], "bh1") == [0.5]
    assert term_weights(0.7, [1.0], "bh2") == pytest.approx(
        [0.5 * (1 - math.exp(-0.7)) / 0.7], rel=1e-14
    )


def quadratic(level, coefficients):
    """A clean latent that is a quadratic in lambda."""
    return sum(c * level.half_log_snr**power for power, c in enumerate(coefficients))


def exact_step(x, coefficients, here, there):
    """The ODE with such a clean latent, integrated numerically over lambda."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    start, h = here.half_log_snr, there.half_log_snr - here.half_log_snr
    integral = 0
    for node, weight in zip(nodes, weights, strict=True):
        at = start + (node + 1) / 2 * h
        pull = math.exp(at - there.half_log_snr) * float(weight) * h / 2
        integral = integral + pull * sum(c * at**power for power, c in enumerate(coefficients))
    ratio = ((1 - there.alpha_bar) / (1 - here.alpha_bar)) ** 0.5
    return ratio * x + there.alpha_bar**0.5 * integral


@pytest.mark.holds("labml_sd.sampler.solvers.unipc.higher_order_terms")
def test_of_order_three_the_prediction_is_exact_for_a_quadratic(schedule, randn, answer):
    *before, here, there = (schedule.level(t) for t in (900, 800, 700, 550))
    x, coefficients = randn(), [randn(), randn(), randn()]
    past = [answer(level, quadratic(level, coefficients)) for level in before]
    step = unip_step(x, quadratic(here, coefficients), past, here, there)
    torch.testing.assert_close(
        step, exact_step(x, coefficients, here, there), rtol=1e-9, atol=1e-9
    )


@pytest.mark.holds("labml_sd.sampler.solvers.unipc.higher_order_terms")
def test_of_order_two_the_correction_is_exact_for_a_quadratic(
    schedule, randn, answer, evaluated
):
    before, start, there = (schedule.level(t) for t in (800, 700, 550))
    x, coefficients = randn(), [randn(), randn(), randn()]
    past = [answer(level, quadratic(level, coefficients)) for level in (before, start)]
    predicted = unip_step(x, past[1].x0, past[:1], start, there)
    eps = (predicted - there.alpha_bar**0.5 * quadratic(there, coefficients)) / (
        1 - there.alpha_bar
    ) ** 0.5
    corrected = unic_step(evaluated(there, predicted, eps), past)
    torch.testing.assert_close(
        corrected, exact_step(x, coefficients, start, there), rtol=1e-9, atol=1e-9
    )


def test_of_order_one_the_prediction_is_ddim(schedule, randn):
    x, x0, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    assert torch.equal(
        unip_step(x, x0, [], here, there), dpmpp_first_order_step(x, x0, here, there)
    )


def test_a_prediction_that_was_right_is_not_corrected(schedule, randn, answer):
    # Every answer implies the same clean latent: predictor and corrector are both exact.
    x0, levels = randn(), [schedule.level(t) for t in (900, 800, 700)]
    *past, now = (answer(level, x0) for level in levels)
    torch.testing.assert_close(unic_step(now, past), now.x, rtol=1e-11, atol=1e-11)


def test_a_run_asks_once_at_each_level(schedule, gaussian, randn, no_draw):
    denoise, levels = gaussian(2.0), UniPC().levels(schedule, 20)
    sample(UniPC(), denoise, randn(), levels, draw=no_draw, progress=False)
    assert levels[-1] == CLEAN and denoise.asked_at == [level.t for level in levels[:-1]]


@pytest.mark.parametrize(("n_steps", "orders"), [(1, [1]), (2, [2, 1]), (5, [3, 3, 3, 2, 1])])
def test_the_order_falls_at_the_end_of_a_run(schedule, n_steps, orders):
    assert [level.max_order for level in UniPC().levels(schedule, n_steps)[:-1]] == orders


@pytest.mark.parametrize("solver", ["bh1", "bh2"])
def test_the_error_of_order_three_falls_with_at_least_the_power_two_and_a_half(
    error_of, data, solver
):
    error_of.lowest = 1.0
    assert error_of.slope(UniPC(solver=solver), data, [20, 40, 80]) >= 2.5


def test_without_its_last_order_the_error_falls_with_the_third_power(error_of, data):
    # Order 2 with its corrector is of third order.
    error_of.lowest = 1.0
    assert error_of.slope(UniPC(order=2), data, [20, 40, 80]) == pytest.approx(3, abs=0.25)


@pytest.mark.parametrize("order", [0, 4])
def test_an_order_out_of_range_is_refused(order):
    with pytest.raises(
        GenerationError, match=f"^order is {order}; give a whole number from 1 to 3$"
    ):
        UniPC(order=order)


def test_an_unknown_solver_is_refused():
    with pytest.raises(GenerationError, match=r"^solver is 'bh3'; give 'bh2'"):
        UniPC(solver="bh3")


def test_inputs_stay_as_they_were(schedule, answer):
    *past, now = given = [answer(schedule.level(t)) for t in (900, 800, 700)]
    before = [(each.x.clone(), each.eps.clone()) for each in given]
    unip_step(unic_step(now, past), now.x0, past, now.level, schedule.level(600))
    for each, (x, eps) in zip(given, before, strict=True):
        assert torch.equal(each.x, x) and torch.equal(each.eps, eps)
