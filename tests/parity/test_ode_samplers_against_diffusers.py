"""Whole runs of the ODE samplers against diffusers' schedulers, in float64, on the same levels.

Their tables and lists are float32; lists in float64 are put in their place. What is compared is
the arithmetic. Our samplers, which choose other levels by themselves, are handed theirs.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import (
    CLEAN,
    DPM2,
    LMS,
    PLMS,
    Euler,
    Heun,
    Level,
    Sampler,
    Schedule,
    UniPC,
    from_eps,
    sample,
)
from labml_sd.sampler.between import LevelWithBetween
from labml_sd.sampler.solvers.unipc import LevelWithOrder

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULE = Schedule(ScheduleConfig())
START = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
# Their set_timesteps gives tensors to NumPy.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]


def network(x: Tensor, t: float) -> Tensor:
    """Some smooth function of both, in place of a U-Net."""
    return torch.tanh(0.8 * x + t / 1000) + 0.1 * x.mean()


def ours(sampler: Sampler, levels: list[Level]) -> list[Tensor]:
    """The latents after every step, in our scale."""
    frames: list[Tensor] = []
    sample(
        sampler,
        lambda x, moment: from_eps(x, network(x, moment.level.t), moment.level),
        START,
        levels,
        draw=lambda: START,
        on_step=lambda step: frames.append(step.x),
        progress=False,
    )
    return frames


def assert_equal(mine: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-6) -> None:
    """Every frame of a run, and as many of them."""
    assert len(mine) == len(theirs)
    for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert (a - b).abs().max() <= tolerance * b.abs().max(), index


def in_our_scale(x_sigma: Tensor, sigma: float) -> Tensor:
    return x_sigma / (1 + sigma**2) ** 0.5


def level_of(t: float, sigma: float) -> Level:
    """The level of their time and sigma: they interpolate sigma, so it is not exactly ours."""
    return Level(t, 1 / (1 + sigma**2))


def sigma_run(scheduler: Any, times: list[float], sigmas: list[float]) -> list[Tensor]:
    """Their latents after each call, in our scale. `sigmas` are those of the calls, and 0."""
    x, frames = START * (1 + sigmas[0] ** 2) ** 0.5, []
    for index, t in enumerate(times):
        eps = network(in_our_scale(x, sigmas[index]), t)
        # The time is only looked up in their own list.
        x = scheduler.step(eps, scheduler.timesteps[index], x).prev_sample
        frames.append(in_our_scale(x, sigmas[index + 1]))
    return frames


def their_lists(n_steps: int, spacing: str) -> tuple[list[float], list[float]]:
    """Times and sigmas of their Euler, in float64, down to zero: sigma is linear in time."""
    scheduler = EulerDiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n_steps)
    times = scheduler.timesteps.double().numpy()
    table = np.array([SCHEDULE.level(t).sigma for t in range(1000)])
    sigmas = [*np.interp(times, np.arange(1000), table), 0.0]
    np.testing.assert_allclose(scheduler.sigmas.numpy(), sigmas, rtol=1e-3)
    return times.tolist(), [float(sigma) for sigma in sigmas]


COUNTS = pytest.mark.parametrize("n_steps", [1, 2, 5, 20])
SPACINGS = pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])


@pytest.mark.holds("labml_sd.sampler.solvers.euler.euler_step")
@COUNTS
@SPACINGS
def test_euler_equals_diffusers(n_steps, spacing, monkeypatch):
    times, sigmas = their_lists(n_steps, spacing)
    scheduler = EulerDiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n_steps)
    scheduler.is_scale_input_called = True
    # Their `step` casts the state to float32: seen as float64, it is left alone.
    monkeypatch.setattr(torch, "float32", torch.float64)
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    theirs = sigma_run(scheduler, times, sigmas)
    monkeypatch.undo()
    levels = [level_of(t, sigma) for t, sigma in zip(times, sigmas[:-1], strict=True)]
    assert_equal(ours(Euler(), [*levels, CLEAN]), theirs, 1e-11)


@COUNTS
@SPACINGS
def test_heun_equals_diffusers(n_steps, spacing):
    times, sigmas = their_lists(n_steps, spacing)
    scheduler = HeunDiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n_steps)
    # They list both ends of every step but the last: first end, second end, first end ...
    twice = [*([0] if n_steps == 1 else [0, *(i for i in range(1, n_steps) for _ in range(2))])]
    scheduler.sigmas = torch.tensor([sigmas[i] for i in twice] + [0.0], dtype=torch.float64)
    scheduler._step_index = 0
    called = sigma_run(scheduler, [times[i] for i in twice], [sigmas[i] for i in twice] + [0.0])
    levels = [level_of(t, sigma) for t, sigma in zip(times, sigmas[:-1], strict=True)]
    assert_equal(ours(Heun(), [*levels, CLEAN]), called[1::2] + called[-1:], 1e-11)


@pytest.mark.holds("labml_sd.sampler.solvers.dpm_2.dpm_2_step")
@COUNTS
@SPACINGS
def test_dpm_2_equals_diffusers(n_steps, spacing):
    times, sigmas = their_lists(n_steps, spacing)
    scheduler = KDPM2DiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n_steps)
    middles = [(a * b) ** 0.5 for a, b in pairwise(sigmas[:-1])]
    between = [SCHEDULE.at_sigma(sigma) for sigma in middles]
    # Their lists are float32: the middles' own, and the times made from them.
    np.testing.assert_allclose(
        [level.t for level in between], scheduler.timesteps[1::2], atol=1e-2
    )
    listed = [0, *(i for i in range(1, n_steps) for _ in range(2))]
    scheduler.sigmas = torch.tensor([sigmas[i] for i in listed] + [0.0], dtype=torch.float64)
    halves = [sigmas[0], *(m for middle in middles for m in (middle, middle)), 0.0, 0.0]
    scheduler.sigmas_interpol = torch.tensor(halves, dtype=torch.float64)
    scheduler._step_index = 0
    asked_at, asked_times = [sigmas[0]], [times[0]]
    for i, middle in enumerate(between, start=1):
        asked_at += [middle.sigma, sigmas[i]]
        asked_times += [middle.t, times[i]]
    called = sigma_run(scheduler, asked_times, [*asked_at, 0.0])
    levels: list[Level] = [
        level_of(t, sigma) for t, sigma in zip(times, sigmas[:-1], strict=True)
    ]
    starts = zip(levels, between, strict=False)
    with_middle = [
        LevelWithBetween(level.t, level.alpha_bar, middle) for level, middle in starts
    ]
    assert_equal(
        ours(DPM2(), [*with_middle, levels[-1], CLEAN]), called[1::2] + called[-1:], 1e-11
    )


@pytest.mark.holds("labml_sd.sampler.solvers.lms.lms_weights")
@COUNTS
@SPACINGS
def test_lms_equals_diffusers(n_steps, spacing, lms_scheduler):
    times, sigmas = their_lists(n_steps, spacing)
    scheduler = lms_scheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n_steps)
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    scheduler.is_scale_input_called, scheduler._step_index = True, 0
    levels = [level_of(t, sigma) for t, sigma in zip(times, sigmas[:-1], strict=True)]
    assert_equal(ours(LMS(), [*levels, CLEAN]), sigma_run(scheduler, times, sigmas), 1e-11)


@pytest.mark.holds("labml_sd.sampler.solvers.plms.plms_eps")
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("n_steps", [2, 4, 10, 20, 50])
def test_plms_equals_diffusers_pndm_where_the_count_divides_1000(n_steps, spacing):
    # With skip_prk_steps, as SD has it: they list the second time twice, and that is our first
    # step.
    scheduler = PNDMScheduler(
        **SD,
        timestep_spacing=spacing,
        steps_offset=1,
        skip_prk_steps=True,
        set_alpha_to_one=False,
    )
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = (
        SCHEDULE.alpha_bar,
        SCHEDULE.alpha_bar[0],
    )
    scheduler.set_timesteps(n_steps)
    x, theirs = START, []
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(network(x, t), t, x).prev_sample
        theirs.append(x)
    mine = ours(PLMS(spacing), PLMS(spacing).levels(SCHEDULE, n_steps))
    assert_equal(mine, theirs[1:], 1e-11)


@pytest.mark.holds("labml_sd.sampler.solvers.unipc.higher_order_terms")
@pytest.mark.parametrize("solver", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 20])
@pytest.mark.parametrize("falls_at_the_end", [True, False])
def test_unipc_equals_diffusers(solver, order, n_steps, falls_at_the_end):
    # Without the fall the list ends above zero: of a higher order than 1 no step goes into
    # CLEAN.
    scheduler = UniPCMultistepScheduler(
        **SD,
        solver_order=order,
        solver_type=solver,
        timestep_spacing="trailing",
        lower_order_final=falls_at_the_end,
        final_sigmas_type="zero" if falls_at_the_end else "sigma_min",
    )
    scheduler.set_timesteps(n_steps)
    sampler = UniPC(order=order, solver=solver)
    levels = sampler.levels(SCHEDULE, n_steps)
    if not falls_at_the_end:
        levels = [
            *(Level(level.t, level.alpha_bar) for level in levels[:-1]),
            SCHEDULE.level(0),
        ]
    assert isinstance(levels[0], LevelWithOrder) is falls_at_the_end
    assert [level.t for level in levels[:-1]] == scheduler.timesteps.tolist()
    sigmas = torch.tensor([level.sigma for level in levels], dtype=torch.float64)
    torch.testing.assert_close(scheduler.sigmas.double(), sigmas, rtol=1e-3, atol=0)
    scheduler.sigmas = sigmas
    x, theirs = START, []
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(network(x, t), t, x).prev_sample
        theirs.append(x)
    mine = ours(sampler, levels)
    if solver == "bh1" and falls_at_the_end:
        # Into zero noise their B(h) is infinite, and times a sum of no terms not a number. Ours
        # ends well.
        assert theirs.pop().isnan().all() and mine.pop().isfinite().all()
    assert_equal(mine, theirs)
