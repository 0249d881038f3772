r"""How near a run of few steps comes to the exact solution: the samplers that draw no noise, side by side.

Maps       model  ->  the RMS distance of the final latents to a run through every level, for each sampler
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
from tqdm.auto import tqdm

from labml_sd.evaluation.results import Rows
from labml_sd.evaluation.sweeps import mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import (
    SAMPLERS,
    Level,
    NoiseSource,
    Sampler,
    Schedule,
    guided,
    sample,
    timesteps,
)
from labml_sd.sampler.protocol import Evaluate
from labml_sd.sampler.spacing import BY_SIGMA

ODE = (
    "ddim",
    "euler",
    "plms",
    "lms",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "unipc",
)  # the others draw noise
CURVES = (
    "trailing",
    "karras",
)  # the usual spacing, and one that spends most steps on little noise
SPACINGS = (*CURVES, "quadratic", "exponential")  # all that start at the noisiest level
EVALUATIONS = (5, 7, 10, 14, 20, 28, 40, 60, 100)
COMPARED_AT = 20  # evaluations at which the spacings without a curve are measured
EXACT, EXACT_STEPS = "dpmpp_2m", 999  # through every level of the schedule
CHECK = (
    "unipc"  # in half as many steps: how far it ends from the other tells how exact that one is
)


def levels_to_zero(
    name: str, spacing: str, schedule: Schedule, n_steps: int
) -> tuple[Sampler, list[Level]]:
    """A sampler and its levels for n_steps from the noisiest level to t = 0, the same ends for all.

    Left to themselves most samplers go on into no noise at all, and DDIM and PLMS stop at t =
    0. That last step is of first order whatever the sampler, and it is left out here: what is
    compared is how well they solve the equation. The step into t = 0 is therefore one as any
    other, with the order of its sampler.
    """
    by_hand: str | list[float | int] = spacing
    if spacing not in BY_SIGMA:  # those end at t = 0 already
        times = timesteps(spacing, n_steps, schedule.n_steps)
        by_hand = (
            [*times, 0]
            if times[-1] > 0
            else [*timesteps(spacing, n_steps + 1, schedule.n_steps)]
        )
    sampler = replace(SAMPLERS[name](), spacing=by_hand)  # type: ignore[type-var]
    return sampler, sampler.levels(schedule, n_steps + 1)[:-1]


class Solver:
    """A model with prompts, guidance and starting noise bound to it: a sampler and its levels -> latents."""

    def __init__(self, model: LatentDiffusion, prompts: Sequence[str], scale: float) -> None:
        """Picture i has seed i. The latents are float32 or better."""
        config = model.config
        side = config.image_size // config.autoencoder.downsampling_factor
        dtype = torch.promote_types(model.dtype, torch.float32)
        shape = (config.autoencoder.z_channels, side, side)
        self.schedule = model.schedule
        self.x = NoiseSource(range(len(prompts)), shape, model.device, dtype).draw()
        cond, uncond = model.encode_prompt(list(prompts)), model.encode_prompt([""])
        self.evaluate: Evaluate = guided(model, cond, uncond, scale)

    def __call__(
        self, name: str, spacing: str, n_steps: int
    ) -> tuple[Float[Tensor, "b c h w"], int]:
        """The latents at t = 0, and how often the sampler asked for them."""
        asked = 0

        def evaluate(x: Tensor, level: Level) -> Tensor:
            nonlocal asked
            asked += 1
            return self.evaluate(x, level)

        sampler, levels = levels_to_zero(name, spacing, self.schedule, n_steps)
        with torch.inference_mode():
            z = sample(sampler, evaluate, self.x, levels, draw=_none, progress=False)
        return z, asked


def _none() -> Tensor:
    raise AssertionError("a sampler of this list drew noise")


def steps_for(name: str, n_evaluations: int) -> int:
    """The steps that cost as many evaluations, or one less."""
    begun = n_evaluations - (name == "plms")  # which asks twice in its first step
    return begun // SAMPLERS[name]().evaluations_per_step  # type: ignore[attr-defined]


def rms(z: Float[Tensor, "b c h w"]) -> float:
    """Root of the mean square over all pictures."""
    return float(z.double().square().mean().sqrt())


def convergence(
    model: LatentDiffusion, scale: float, rows: Rows, *, n_prompts: int, progress: bool = True
) -> dict[str, Any]:
    r"""Distances to the run through every level, $\sqrt{\mathrm{mean}\,(z - z_{exact})^2}$.

    `n_prompts` prompts, drawn in the model's own type: a narrow one would put a floor under the
    curves. What `rows` knows from a call that was interrupted is not measured again.
    """
    solve = Solver(
        model, [scene.caption(full=True) for scene in mixed_scenes(n_prompts)], scale
    )
    with tqdm(
        total=len(_asked()) + 2, desc="convergence", disable=not progress, dynamic_ncols=True
    ) as bar:
        exact, _ = solve(EXACT, "trailing", EXACT_STEPS)
        bar.update()
        check, _ = solve(CHECK, "trailing", EXACT_STEPS // 2)
        bar.update()
        measured = []
        for key in _asked():
            about = {"n_prompts": n_prompts, "scale": scale, "dtype": str(model.dtype)}
            measured.append(
                rows.row(json.dumps([*key, about]), partial(_distance, solve, exact, *key))
            )
            bar.update()
    return {
        "n_prompts": n_prompts,
        "exact": {"sampler": EXACT, "steps": EXACT_STEPS, "rms": rms(exact)},
        "check": {"sampler": CHECK, "steps": EXACT_STEPS // 2, "rms": rms(check - exact)},
        "rows": measured,
    }


def _asked() -> list[tuple[str, str, int]]:
    """Sampler, spacing, evaluations."""
    counts = {
        spacing: EVALUATIONS if spacing in CURVES else (COMPARED_AT,) for spacing in SPACINGS
    }
    return [(name, spacing, n) for spacing, ns in counts.items() for name in ODE for n in ns]


def _distance(
    solve: Solver, exact: Float[Tensor, "b c h w"], name: str, spacing: str, n: int
) -> dict[str, Any]:
    z, n_asked = solve(name, spacing, steps_for(name, n))
    counts = {"meant": n, "evaluations": n_asked}
    return {"sampler": name, "spacing": spacing} | counts | {"rms": rms(z - exact)}
