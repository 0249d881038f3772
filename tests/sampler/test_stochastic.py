"""Samplers that draw noise: the distribution of the data, the steps, and the noise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from labml_sd.sampler import (
    CLEAN,
    NoiseSource,
    add_noise,
    from_eps,
    get_sampler,
    inpaint_blend,
    sample,
    tail,
)

ORDERS = {
    "euler_a": 1,
    "dpm_2_a": 2,
    "dpmpp_2s_a": 2,
    "dpmpp_sde": 2,
    "dpmpp_2m_sde": 2,
    "dpmpp_3m_sde": 2,
}
DRAWS = {name: 2 if name == "dpmpp_sde" else 1 for name in ORDERS}

every_sampler = pytest.mark.parametrize("name", ORDERS)
every_std = pytest.mark.parametrize("data_std", [0.5, 2.0])


@pytest.mark.holds("fact: other-std")
@every_sampler
@every_std
def test_20000_samples_have_the_mean_and_the_variance_of_the_data(
    schedule, gaussian, randn, name, data_std
):
    n_samples, mean, denoise = 20_000, 3.0, gaussian(data_std)
    sampler = replace(get_sampler(name), spacing="karras")
    levels = sampler.levels(schedule, 400 if ORDERS[name] == 1 else 100)

    def shifted(x, moment):
        level = moment.level
        eps = denoise.eps(x - math.sqrt(level.alpha_bar) * mean, level)
        return from_eps(x, eps, level)

    draw = lambda: randn(n_samples, 1, 1, 1)  # noqa: E731
    start = (
        math.sqrt(levels[0].alpha_bar) * mean + math.sqrt(denoise.variance(levels[0])) * draw()
    )
    z = sample(sampler, shifted, start, levels, draw=draw, progress=False)
    # Four standard errors, and the error of the method itself: see the exact variances below.
    off = 0.025 if ORDERS[name] == 1 else 0.006
    assert z.mean().item() == pytest.approx(mean, abs=4 * data_std / math.sqrt(n_samples))
    assert z.var().item() == pytest.approx(data_std**2, rel=4 * math.sqrt(2 / n_samples) + off)


@pytest.fixture
def exact_variance(gaussian):
    """The variance of a sampler's results on Gaussian data, without a sample being drawn.

    Everything is linear there: each draw is given an axis of its own, and the result is the
    vector of weights with which the draws are in it.
    """

    def compute(sampler, levels, data_std):
        denoise, axes = (
            gaussian(data_std),
            iter(torch.eye(2 * len(levels)).double()[:, None, None, None]),
        )
        start = math.sqrt(denoise.variance(levels[0])) * next(axes)
        z = sample(sampler, denoise, start, levels, draw=lambda: next(axes), progress=False)
        return (z**2).sum().item()

    return compute


@every_sampler
@every_std
def test_the_variance_is_off_by_the_stated_bound_at_most(
    schedule, exact_variance, name, data_std
):
    sampler = replace(get_sampler(name), spacing="karras")
    levels = sampler.levels(schedule, 400 if ORDERS[name] == 1 else 100)
    off = 0.025 if ORDERS[name] == 1 else 0.006
    assert exact_variance(sampler, levels, data_std) == pytest.approx(data_std**2, rel=off)


@every_sampler
@every_std
def test_the_error_of_the_variance_falls_with_the_order(
    schedule, gaussian, exact_variance, name, data_std
):
    counts, errors = [24, 48, 96, 192], []
    for n_steps in counts:
        # The levels end above zero: the step into CLEAN is first order and would hide the
        # others.
        times = list(range(999, 38, -960 // n_steps))
        sampler = replace(get_sampler(name), spacing=times)
        levels = sampler.levels(schedule, n_steps + 1)[:-1]
        wanted = gaussian(data_std).variance(levels[-1])
        errors.append(abs(exact_variance(sampler, levels, data_std) / wanted - 1))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    # The parabola of 3M is cut short by its first two steps, which have no past: more than 2,
    # less than 3.
    low, high = (
        (1.75, 3) if name == "dpmpp_3m_sde" else (ORDERS[name] - 0.25, ORDERS[name] + 0.25)
    )
    assert low < slope < high


@every_sampler
def test_every_count_to_200_lists_that_many_steps_down_to_clean(schedule, name):
    sampler = get_sampler(name)
    for n_steps in range(1, 201):
        levels = sampler.levels(schedule, n_steps)
        alpha_bars = [level.alpha_bar for level in levels]
        assert len(levels) == n_steps + 1 and levels[-1] == CLEAN, n_steps
        assert sorted(set(alpha_bars)) == alpha_bars, n_steps


@every_sampler
@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 50])
def test_a_run_costs_what_the_sampler_says(schedule, gaussian, randn, name, n_steps):
    sampler, denoise, draws = get_sampler(name), gaussian(0.5), []

    def draw():
        draws.append(randn())
        return draws[-1]

    z = sample(
        sampler, denoise, randn(), sampler.levels(schedule, n_steps), draw=draw, progress=False
    )
    # The step into CLEAN has one evaluation and draws nothing.
    assert len(denoise.asked_at) == (n_steps - 1) * sampler.evaluations_per_step + 1
    assert len(draws) == (n_steps - 1) * DRAWS[name]
    assert z.isfinite().all()


@every_sampler
def test_eta_zero_draws_nothing(schedule, gaussian, randn, no_draw, name):
    sampler = replace(get_sampler(name), eta=0)
    sample(
        sampler,
        gaussian(2.0),
        randn(),
        sampler.levels(schedule, 7),
        draw=no_draw,
        progress=False,
    )


@every_sampler
def test_s_noise_scales_the_noise(schedule, gaussian, randn, name):
    x, noises = randn(), [randn() for _ in range(20)]

    def run(s_noise, scale):
        sampler, stream = replace(get_sampler(name), s_noise=s_noise), iter(noises)
        levels = sampler.levels(schedule, 7)
        draw = lambda: scale * next(stream)  # noqa: E731
        return sample(sampler, gaussian(2.0), x, levels, draw=draw, progress=False)

    torch.testing.assert_close(run(1.25, 1.0), run(1, 1.25), rtol=1e-12, atol=1e-12)


@every_sampler
@pytest.mark.parametrize(("strength", "n_steps"), [(0, 0), (0.01, 1), (0.5, 10), (1, 20)])
def test_a_strength_runs_its_share_of_the_steps(
    schedule, gaussian, randn, name, strength, n_steps
):
    sampler, z, steps = get_sampler(name), randn(), []
    levels = tail(sampler.levels(schedule, 20), strength)
    start = add_noise(z, randn(), levels[0])
    result = sample(
        sampler, gaussian(2.0), start, levels, draw=randn, on_step=steps.append, progress=False
    )
    assert len(steps) == n_steps and result.isfinite().all()
    assert n_steps > 0 or torch.equal(result, z)


@every_sampler
def test_in_painting_keeps_the_kept_latent_to_the_bit(schedule, gaussian, randn, name):
    sampler, z, mask = get_sampler(name), randn(), torch.zeros(2, 1, 3, 5, dtype=torch.float64)
    mask[..., :2] = 1
    blend = inpaint_blend(z, randn(), mask)
    levels = sampler.levels(schedule, 6)
    result = sample(
        sampler, gaussian(0.5), randn(), levels, draw=randn, blend=blend, progress=False
    )
    assert torch.equal(result[..., 2:], z[..., 2:])
    assert not torch.isclose(result[..., :2], z[..., :2]).any()


@every_sampler
def test_a_step_changes_none_of_its_inputs(schedule, gaussian, randn, one_step, name):
    sampler, x, noises = get_sampler(name), randn(), [randn(), randn()]
    before, stream = [x.clone(), *(noise.clone() for noise in noises)], iter(noises)
    levels = sampler.levels(schedule, 3)
    one_step(sampler, gaussian(2.0).eps, x, levels[0], levels[1], lambda: next(stream))
    assert all(torch.equal(*pair) for pair in zip([x, *noises], before, strict=True))


@every_sampler
def test_a_picture_does_not_depend_on_its_batch(schedule, gaussian, name):
    sampler = get_sampler(name)
    levels = sampler.levels(schedule, 5)

    def run(seeds):
        source = NoiseSource(seeds, (4, 3, 5))
        return sample(
            sampler, gaussian(2.0), source.draw(), levels, draw=source.draw, progress=False
        )

    assert torch.equal(run([7, 3, 11])[1:2], run([3]))
