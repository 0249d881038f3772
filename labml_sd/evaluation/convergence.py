r"""How close deterministic samplers come to the exact solution of the ODE in few steps.

Maps       model  ->  for each sampler the RMS distance of its final latents to the exact ones
Tests      tests/evaluation/test_convergence.py
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.evaluation.draw_and_read import Measurement, mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import (
    SAMPLERS,
    Level,
    NoiseSource,
    Sampler,
    Schedule,
    sample,
    timesteps,
)
from labml_sd.sampler.spacing import BY_SIGMA

# The samplers without noise.
ODE = ("ddim", "euler", "plms", "lms", "heun", "dpm_2", "dpmpp_2m", "unipc")
CURVES = ("trailing", "karras")  # the default, and one with most steps at low noise
SPACINGS = (*CURVES, "quadratic", "exponential")  # all that start at the highest noise level
EVALUATIONS = (5, 7, 10, 14, 20, 28, 40, 60, 100)
COMPARED_AT = 20  # evaluations, for the spacings without a curve
EXACT, EXACT_STEPS = "dpmpp_2m", 999  # through every level of the schedule
CHECK = "unipc"  # with half as many steps: its distance to EXACT shows how exact EXACT is


def levels_to_zero(
    name: str, spacing: str, schedule: Schedule, n_steps: int
) -> tuple[Sampler, list[Level]]:
    """A sampler and its levels for n_steps from the highest noise level to t = 0.

    By default most samplers end without noise, one step after t = 0, while DDIM and PLMS end at
    t = 0. That last step is of first order for every sampler and is left out here, so that all
    solve the same equation between the same two levels.
    """
    by_hand: str | list[float | int] = spacing
    if spacing not in BY_SIGMA:  # spacings by sigma already end at t = 0
        times = timesteps(spacing, n_steps, schedule.n_steps)
        longer = timesteps(spacing, n_steps + 1, schedule.n_steps)
        by_hand = [*times, 0] if times[-1] > 0 else [*longer]
    sampler = replace(SAMPLERS[name](), spacing=by_hand)  # type: ignore[type-var]
    return sampler, sampler.levels(schedule, n_steps + 1)[:-1]


class Solver:
    """Solves the ODE of a model, with fixed prompts, guidance and starting noise."""

    def __init__(self, model: LatentDiffusion, prompts: Sequence[str], scale: float) -> None:
        """Picture i has seed i. The latents are in float32 or float64."""
        config = model.config
        side = config.image_size // config.autoencoder.downsampling_factor
        shape = (config.autoencoder.z_channels, side, side)
        dtype = torch.promote_types(model.dtype, torch.float32)
        self.schedule = model.schedule
        self.x = NoiseSource(range(len(prompts)), shape, model.device, dtype).draw()
        cond, uncond = model.encode_prompt(list(prompts)), model.encode_prompt([""])
        self.denoise = Denoiser(model, Conditioning(cond, uncond), scale)

    def __call__(self, name: str, spacing: str, n_steps: int) -> Float[Tensor, "b c h w"]:
        """The latents at t = 0."""
        sampler, levels = levels_to_zero(name, spacing, self.schedule, n_steps)
        with torch.inference_mode():
            return sample(sampler, self.denoise, self.x, levels, draw=no_noise, progress=False)


def no_noise() -> Tensor:
    """The source of noise of samplers that need none."""
    raise AssertionError("a deterministic sampler drew noise")


def evaluations(name: str, n_steps: int) -> int:
    """Network evaluations of so many steps; PLMS evaluates twice in its first step."""
    per_step: int = SAMPLERS[name]().evaluations_per_step  # type: ignore[attr-defined]
    return n_steps * per_step + (name == "plms")


def steps_for(name: str, n_evaluations: int) -> int:
    """The largest number of steps that takes at most so many evaluations."""
    return max(n for n in range(n_evaluations + 1) if evaluations(name, n) <= n_evaluations)


def rms(z: Float[Tensor, "b c h w"]) -> float:
    """Root mean square over all numbers of all latents."""
    return float(z.double().square().mean().sqrt())


def convergence(m: Measurement) -> dict[str, Any]:
    r"""Distances to the run through every level, $\sqrt{\mathrm{mean}\,(z - z_{exact})^2}$.

    In the model's own dtype: the errors would not fall below the rounding errors of a narrow
    one. Rows that are in `m.rows` are not measured again.
    """
    n_prompts, scale = m.share(156, 2), m.guidance_scale
    captions = [scene.caption(full=True) for scene in mixed_scenes(n_prompts)]
    solve = Solver(m.model, captions, scale)
    about = {"n_prompts": n_prompts, "scale": scale, "dtype": str(m.model.dtype)}
    counts = {s: EVALUATIONS if s in CURVES else (COMPARED_AT,) for s in SPACINGS}
    keys = [(name, s, n) for s, ns in counts.items() for name in ODE for n in ns]
    m.bar.reset(total=len(keys) + 2)  # runs
    exact = solve(EXACT, "trailing", EXACT_STEPS)
    check = solve(CHECK, "trailing", EXACT_STEPS // 2)
    m.bar.update(2)

    def distance(name: str, spacing: str, n: int) -> dict[str, Any]:
        n_steps = steps_for(name, n)
        row = {"sampler": name, "spacing": spacing, "meant": n}
        error = rms(solve(name, spacing, n_steps) - exact)
        return row | {"evaluations": evaluations(name, n_steps), "rms": error}

    measured = []
    for key in keys:
        measured.append(m.rows.row(json.dumps([*key, about]), partial(distance, *key)))
        m.bar.update()
    return {
        "n_prompts": n_prompts,
        "exact": {"sampler": EXACT, "steps": EXACT_STEPS, "rms": rms(exact)},
        "check": {"sampler": CHECK, "steps": EXACT_STEPS // 2, "rms": rms(check - exact)},
        "rows": measured,
    }
