r"""Euler: follow the slope at the start of the step to its end, in sigma.

Maps       x_t, eps [b c h w], two levels  ->  x at the cleaner level
Paper      Karras et al. 2022, arXiv:2206.00364, algorithm 2 with S_churn = 0, without its correction
Reference  k-diffusion k_diffusion/sampling.py, sample_euler without churn
Tests      tests/sampler/solvers/test_euler.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.spacing import Spacing, visited


def euler_step(
    x: Float[Tensor, "b c h w"], slope: Float[Tensor, "b c h w"], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    r"""One straight step of the probability-flow ODE.

    $$ \frac{x_s}{\sqrt{\bar\alpha_s}} = \frac{x_t}{\sqrt{\bar\alpha_t}} + (\sigma_s - \sigma_t)\, d $$

    In sigma the ODE is $dx/d\sigma = (x - D)/\sigma = \epsilon_\theta$: the slope d of a
    network that predicts eps is eps itself. With d = eps the step is DDIM's; other samplers
    pass a better slope.
    """
    x_sigma = x / math.sqrt(here.alpha_bar) + (there.sigma - here.sigma) * slope
    return math.sqrt(there.alpha_bar) * x_sigma


@dataclass(frozen=True)
class Euler:
    """DDIM (eta 0) in other words. What differs is the end: Euler goes on to CLEAN, DDIM stops at t = 0."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then CLEAN."""
        return [*visited(schedule, self.spacing, n_steps), CLEAN]

    def step(
        self,
        evaluate: Evaluate,
        x: Tensor,
        here: Level,
        there: Level,
        draw: Draw,
        history: Sequence[Evaluation],
    ) -> Tensor:
        """One evaluation, no draw."""
        return euler_step(x, evaluate(x, here), here, there)
