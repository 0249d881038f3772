"""Whole runs against diffusers' schedulers, on the same levels with the same noise.

Their tables are float32; ours, in float64, are put in their place: what is compared is the
arithmetic.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import (
    DDIM,
    DDPM,
    DPMpp2M,
    Moment,
    Prediction,
    Schedule,
    add_noise,
    from_eps,
    sample,
    timesteps,
)

TABLES = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
SHAPE = (2, 4, 3, 5)
# Their set_timesteps gives a tensor to NumPy.
THEIR_WARNING = "ignore:__array__ implementation:DeprecationWarning"
SCHEDULE = Schedule(ScheduleConfig())


def randn(generator: torch.Generator) -> Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(x: Tensor, t: float) -> Tensor:
    """Some smooth function of both, in place of a U-Net."""
    return torch.tanh(0.8 * x + t / 1000) + 0.1 * x.mean()


def denoise(x: Tensor, moment: Moment) -> Prediction:
    return from_eps(x, network(x, moment.level.t), moment.level)


def run(sampler: DDIM | DDPM | DPMpp2M, n_steps: int, draw: Callable[[], Tensor]) -> Tensor:
    levels = sampler.levels(SCHEDULE, n_steps)
    return sample(sampler, denoise, randn(seeded(0)), levels, draw=draw, progress=False)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_their_float32_table_is_ours_rounded():
    theirs = DDIMScheduler(**TABLES).alphas_cumprod.double()
    torch.testing.assert_close(theirs, SCHEDULE.alpha_bar, rtol=1e-6, atol=0)


def test_add_noise_is_theirs():
    scheduler = DDPMScheduler(**TABLES)
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar
    z, noise = randn(seeded(1)), randn(seeded(2))
    theirs = scheduler.add_noise(z, noise, torch.tensor([321, 321]))
    torch.testing.assert_close(
        add_noise(z, noise, SCHEDULE.level(321)), theirs, rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("n_steps", [n for n in range(1, 1001) if 1000 % n == 0])
def test_trailing_times_are_theirs_where_the_count_divides_1000(n_steps):
    # Elsewhere theirs, summed in floating point, has a time too many for 62 counts and rounds
    # ties by chance.
    scheduler = DDIMScheduler(**TABLES, timestep_spacing="trailing")
    scheduler.set_timesteps(n_steps)
    assert timesteps("trailing", n_steps) == tuple(scheduler.timesteps.tolist())


@pytest.mark.holds(
    "labml_sd.sampler.solvers.ddim.ddim_sigma", "labml_sd.sampler.solvers.ddim.ddim_step"
)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("n_steps", [1, 4, 20, 50])
def test_ddim_equals_diffusers_where_the_count_divides_1000(spacing, eta, n_steps):
    # Elsewhere they step to t - 1000 // n_steps, which is not the next time they visit.
    scheduler = DDIMScheduler(
        **TABLES,
        timestep_spacing=spacing,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = (
        SCHEDULE.alpha_bar,
        SCHEDULE.alpha_bar[0],
    )
    scheduler.set_timesteps(n_steps)
    theirs, noise = randn(seeded(0)), seeded(1)
    for t in scheduler.timesteps.tolist():
        drawn = randn(noise) if eta else None
        eps = network(theirs, t)
        theirs = scheduler.step(eps, t, theirs, eta=eta, variance_noise=drawn).prev_sample
    noise = seeded(1)
    ours = run(DDIM(spacing=spacing, eta=eta), n_steps, lambda: randn(noise))
    assert relative_error(ours, theirs) < 1e-12


@pytest.mark.holds("labml_sd.sampler.solvers.ddpm.ddpm_step")
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("n_steps", [1, 4, 20, 50])
def test_ddpm_equals_diffusers(spacing, n_steps):
    scheduler = DDPMScheduler(
        **TABLES, timestep_spacing=spacing, steps_offset=1, clip_sample=False
    )
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar
    scheduler.set_timesteps(n_steps)
    theirs, noise = randn(seeded(0)), seeded(1)
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(network(theirs, t), t, theirs, generator=noise).prev_sample
    noise = seeded(1)
    ours = run(DDPM(spacing=spacing), n_steps, lambda: randn(noise))
    # They clamp the last step's variance, which is 0, to 1e-20: noise of std 1e-10 is added.
    assert relative_error(ours, theirs) < 1e-9


def dpm_solver(n_steps: int, spacing: str = "trailing") -> DPMSolverMultistepScheduler:
    scheduler = DPMSolverMultistepScheduler(
        **TABLES, timestep_spacing=spacing, final_sigmas_type="zero"
    )
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar
    scheduler.set_timesteps(n_steps)
    # set_timesteps rounds the sigmas to float32.
    sigmas = [level.sigma for level in DPMpp2M(spacing=spacing).levels(SCHEDULE, n_steps)]
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    return scheduler


@pytest.mark.filterwarnings(THEIR_WARNING)
@pytest.mark.parametrize("n_steps", [1, 2, 4, 10, 20, 50])
def test_dpmpp_2m_equals_diffusers_to_their_float32_state(n_steps):
    scheduler = dpm_solver(n_steps)
    theirs = randn(seeded(0))
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(network(theirs, t), t, theirs).prev_sample
    ours = run(DPMpp2M(), n_steps, draw=lambda: randn(seeded(1)))
    assert relative_error(ours, theirs) < 1e-6


@pytest.mark.holds(
    "labml_sd.sampler.solvers.dpmpp_2m.dpmpp_first_order_step",
    "labml_sd.sampler.solvers.dpmpp_2m.dpmpp_2m_step",
)
@pytest.mark.filterwarnings(THEIR_WARNING)
def test_dpmpp_2m_equals_diffusers_in_float64_where_the_state_is_not_rounded():
    # Their `step` casts the state to float32; the updates it calls do not.
    scheduler, x, before = dpm_solver(20), randn(seeded(0)), None
    frames: list[Tensor] = []
    levels = DPMpp2M().levels(SCHEDULE, 20)
    sample(
        DPMpp2M(),
        denoise,
        x,
        levels,
        draw=lambda: x,
        on_step=lambda s: frames.append(s.x),
        progress=False,
    )
    for index, t in enumerate(scheduler.timesteps.tolist()):
        scheduler._step_index = index
        x0 = scheduler.convert_model_output(network(x, t), sample=x)
        if before is None or index == 19:
            x = scheduler.dpm_solver_first_order_update(x0, sample=x)
        else:
            x = scheduler.multistep_dpm_solver_second_order_update([before, x0], sample=x)
        before = x0
        assert relative_error(frames[index], x) < 1e-12


@pytest.mark.filterwarnings(THEIR_WARNING)
def test_dpmpp_2m_differs_from_their_default_only_in_the_times_visited():
    # Their default spacing, linspace over one time more, is 999, 949 ... 50; trailing is 999,
    # 949 ... 49.
    scheduler = DPMSolverMultistepScheduler(**TABLES)
    scheduler.set_timesteps(20)
    assert np.abs(scheduler.timesteps.numpy() - np.array(timesteps("trailing", 20))).max() == 1
    assert scheduler.sigmas[-1] == 0
