from itertools import pairwise

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, LMS, euler_step, lms_step, sample
from labml_sd.sampler.solvers.lms import lms_weights


@pytest.mark.holds("labml_sd.sampler.solvers.lms.lms_weights")
@pytest.mark.parametrize("n_slopes", [1, 2, 3, 4])
def test_the_weights_integrate_every_polynomial_they_can_exactly(n_slopes):
    sigmas, there = [9.0, 5.0, 4.0, 2.5][-n_slopes:], 1.2
    weights = lms_weights(sigmas, there)
    for power in range(n_slopes):
        exact = (there ** (power + 1) - 2.5 ** (power + 1)) / (power + 1)
        mean_slope = sum(w * sigma**power for w, sigma in zip(weights, sigmas, strict=True))
        assert (there - 2.5) * mean_slope == pytest.approx(exact, rel=1e-12)


@pytest.mark.holds("labml_sd.sampler.solvers.lms.lms_weights")
@pytest.mark.parametrize(
    "known",
    [[1], [-1 / 2, 3 / 2], [5 / 12, -16 / 12, 23 / 12], [-9 / 24, 37 / 24, -59 / 24, 55 / 24]],
)
def test_with_equal_steps_the_weights_are_adams_and_bashforths(known):
    sigmas = [float(s) for s in range(4 + len(known), 4, -1)]
    assert lms_weights(sigmas, 4.0) == pytest.approx(known, rel=1e-12)


def test_one_slope_gives_eulers_step(schedule, randn):
    x, eps, here, there = randn(), randn(), schedule.level(800), schedule.level(600)
    torch.testing.assert_close(
        lms_step(x, [eps], [here], there), euler_step(x, eps, here, there)
    )


def test_a_run_asks_once_at_each_level(schedule, gaussian, randn, no_draw):
    denoise, levels = gaussian(2.0), LMS().levels(schedule, 20)
    sample(LMS(), denoise, randn(), levels, draw=no_draw, progress=False)
    assert levels[-1] == CLEAN and denoise.asked_at == [level.t for level in levels[:-1]]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_after_an_exact_start_the_error_falls_with_the_power_of_the_order(
    schedule, error_of, denoiser, evaluated, one_step, data, order
):
    counts, errors = [40, 80, 160], []
    for n_steps in counts:
        levels, denoise = error_of.levels(n_steps), denoiser(data)
        exact = [
            denoise.exact(error_of.x, levels[0], level) for level in (*levels[:4], levels[-1])
        ]
        history = [
            evaluated(at, x, denoise.eps(x, at))
            for at, x in zip(levels[:3], exact[:3], strict=True)
        ]
        x = exact[3]
        for here, there in pairwise(levels[3:]):
            now = evaluated(here, x, denoise.eps(x, here))
            x = one_step(LMS(order=order), denoise.eps, x, here, there, history=history[-3:])
            history.append(now)
        errors.append((x - exact[-1]).abs().max().item())
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.25)


def test_from_a_cold_start_the_one_first_order_step_leaves_second_order(error_of, data):
    # Order 4 shows first; the error of the first step, of order 2, takes over as steps get
    # many.
    assert 1.75 <= error_of.slope(LMS(), data)
    assert error_of.slope(LMS(order=2), data) == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("order", [0, 5, -1])
def test_an_order_out_of_range_is_refused(order):
    with pytest.raises(
        GenerationError, match=f"^order is {order}; give a whole number from 1 to 4$"
    ):
        LMS(order=order)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    lms_step(given[0], given[1:], [schedule.level(20), schedule.level(9)], schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
