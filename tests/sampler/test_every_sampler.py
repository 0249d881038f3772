"""What holds for every sampler there is, and what all ODE samplers have in common."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from labml_sd.sampler import (
    SAMPLERS,
    Level,
    UniPC,
    add_noise,
    from_v,
    get_sampler,
    inpaint_blend,
    sample,
    tail,
)
from labml_sd.sampler.between import with_between

ORDERS = {
    "ddim": 1,
    "plms": 2,
    "euler": 1,
    "heun": 2,
    "dpm_2": 2,
    "lms": 2,
    "dpmpp_2m": 2,
    "unipc": 3,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_count_gives_exactly_that_many_steps_all_downward(schedule, name):
    sampler = get_sampler(name)
    for n_steps in range(1, 201):
        levels = sampler.levels(schedule, n_steps)
        assert len(levels) == n_steps + 1, n_steps
        assert all(here.alpha_bar < there.alpha_bar for here, there in pairwise(levels)), (
            n_steps
        )


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "spacing", ["uniform", "quadratic", "karras", "exponential", (999, 500.5, 20)]
)
def test_every_sampler_takes_every_spacing(schedule, gaussian, randn, name, spacing):
    sampler = type(get_sampler(name))(spacing=spacing)
    levels = sampler.levels(schedule, 3)
    z = sample(sampler, gaussian(0.5), randn(), levels, draw=randn, progress=False)
    assert len(levels) == 4 and z.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("strength", "n_steps"), [(0, 0), (0.01, 1), (0.5, 10), (1, 20)])
def test_every_strength_runs_its_share_of_the_steps(
    schedule, gaussian, randn, name, strength, n_steps
):
    sampler, z, steps = get_sampler(name), 0.5 * randn(), []
    levels = tail(sampler.levels(schedule, 20), strength)
    x = add_noise(z, randn(), levels[0])
    done = sample(
        sampler, gaussian(0.5), x, levels, draw=randn, on_step=steps.append, progress=False
    )
    assert len(steps) == n_steps and done.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("strength", [0.01, 0.5, 1])
def test_in_painting_keeps_the_kept_area_at_the_end_level(
    schedule, gaussian, randn, name, strength
):
    sampler, z, noise = get_sampler(name), randn(), randn()
    mask = torch.zeros(2, 1, 3, 5, dtype=torch.float64)
    mask[..., :2] = 1
    levels = tail(sampler.levels(schedule, 20), strength)
    x, blend = add_noise(z, noise, levels[0]), inpaint_blend(z, noise, mask)
    done = sample(sampler, gaussian(0.5), x, levels, draw=randn, blend=blend, progress=False)
    assert torch.equal(done[..., 2:], add_noise(z, noise, levels[-1])[..., 2:])
    assert not torch.equal(done[..., :2], z[..., :2])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_in_the_middle_asks_as_often_as_the_sampler_says(
    schedule, gaussian, randn, name
):
    sampler, denoise, asked = get_sampler(name), gaussian(0.5), []
    sample(
        sampler,
        denoise,
        randn(),
        sampler.levels(schedule, 6),
        draw=randn,
        on_step=lambda step: asked.append(len(denoise.asked_at)),
        progress=False,
    )
    assert [b - a for a, b in pairwise(asked[:5])] == [sampler.evaluations_per_step] * 4


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_network_may_not_be_handed_a_latent_that_changes_later(
    schedule, gaussian, randn, name
):
    sampler, denoise, seen = get_sampler(name), gaussian(0.5), []

    def watched(x, moment):
        seen.append((x, x.clone()))
        return denoise(x, moment)

    sample(sampler, watched, randn(), sampler.levels(schedule, 6), draw=randn, progress=False)
    assert all(torch.equal(then, now) for now, then in seen)


def extrapolated(runs, order):
    """The limit of runs with n, 2n, 4n ... steps by Richardson extrapolation."""
    for power in range(order, order + len(runs) - 1):
        runs = [finer + (finer - coarser) / (2**power - 1) for coarser, finer in pairwise(runs)]
    return runs[-1]


@pytest.mark.holds("fact: other-std")
def test_all_ode_samplers_meet_in_the_exact_solution_to_one_in_a_million(
    schedule, error_of, denoiser, data
):
    levels = error_of.levels(1)
    exact = denoiser(data).exact(error_of.x, levels[0], levels[-1])
    for name, order in ORDERS.items():
        sampler = get_sampler(name)
        runs = []
        # The error of LMS, of order 4 but for its first steps, is a plain power of the step
        # only later.
        for n_steps in (64, 128, 256) if name == "lms" else (16, 32, 64, 128):
            levels = error_of.levels(n_steps)
            levels = with_between(schedule, levels) if name == "dpm_2" else levels
            runs.append(error_of.run(sampler, data, levels))
        limit = extrapolated(runs, order)
        assert (limit - exact).abs().max() < 1e-6 * exact.abs().max(), name


def test_every_sampler_that_draws_nothing_is_among_those_that_meet(schedule, gaussian, randn):
    drawing = set()
    for name in SAMPLERS:
        sampler = get_sampler(name)

        def draw(name=name):
            drawing.add(name)
            return randn()

        sample(
            sampler,
            gaussian(0.5),
            randn(),
            sampler.levels(schedule, 3),
            draw=draw,
            progress=False,
        )
    assert set(SAMPLERS) - drawing == set(ORDERS)


def test_a_run_of_unipc_without_history_in_the_middle_of_its_levels_starts_at_order_one(
    schedule, gaussian, randn, no_draw
):
    # A tail starts without history: its first step must not use evaluations that do not exist.
    levels = tail(UniPC().levels(schedule, 20), 0.5)
    z = sample(UniPC(), gaussian(0.5), randn(), levels, draw=no_draw, progress=False)
    assert z.isfinite().all()


class ZeroTerminalSNR:
    """The exact denoiser of normal data by its v, which is defined at pure noise too."""

    def __init__(self, data_std):
        self.data_std = data_std

    def __call__(self, x, moment):
        signal, spread = moment.level.alpha_bar**0.5, (1 - moment.level.alpha_bar) ** 0.5
        variance = (signal * self.data_std) ** 2 + spread**2
        v = signal * spread * (1 - self.data_std**2) / variance * x
        return from_v(x, v, moment.level)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
def test_a_run_can_start_at_pure_noise_with_a_network_that_predicts_v(schedule, randn, name):
    # There x0 does not follow from eps: alpha_bar is 0.
    sampler, x = get_sampler(name), randn(1, 4, 50, 50)
    levels = [Level(t=999.0, alpha_bar=0.0), *sampler.levels(schedule, 400)[1:]]
    draw = partial(randn, 1, 4, 50, 50)
    z = sample(sampler, ZeroTerminalSNR(0.5), x, levels, draw=draw, progress=False)
    assert z.std().item() == pytest.approx(0.5, rel=0.05)
