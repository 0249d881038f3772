r"""DDPM: each step draws from the forward process' posterior.

Maps       x_t, eps [b c h w], two levels  ->  x at the cleaner level
Paper      Ho et al. 2020, arXiv:2006.11239, equations 6, 7 and 15
Tests      tests/sampler/solvers/test_ddpm.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import CLEAN, Level, Schedule, predict_x0
from labml_sd.sampler.spacing import Spacing, visited


def ddpm_step(
    x: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Sample the posterior $q(x_s \mid x_t, x_0)$, DDPM eq. 6 and 7, with $x_0$ of eq. 15.

    $$ \tilde\mu = \frac{\sqrt{\bar\alpha_s}\,\beta}{1 - \bar\alpha_t}\, x_0
                 + \frac{\sqrt{\alpha}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t}\, x_t,
       \qquad \tilde\beta = \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\, \beta $$

    The paper steps from t to t-1. Any cleaner level s will do: between two visited levels
    $\alpha = \bar\alpha_t / \bar\alpha_s$ and $\beta = 1 - \alpha$.
    """
    alpha = here.alpha_bar / there.alpha_bar
    beta = 1 - alpha
    noise_here, noise_there = 1 - here.alpha_bar, 1 - there.alpha_bar
    x0 = predict_x0(x, eps, here)
    mean = (
        math.sqrt(there.alpha_bar) * beta / noise_here * x0
        + math.sqrt(alpha) * noise_there / noise_here * x
    )
    return mean + math.sqrt(noise_there / noise_here * beta) * noise


@dataclass(frozen=True)
class DDPM:
    """The first sampler of all: noise is drawn at each step but the last. It wants many steps."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then CLEAN: the posterior has no variance there, so nothing is drawn."""
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
        """One evaluation; one draw unless `there` is clean."""
        eps = evaluate(x, here)
        noise = draw() if there.alpha_bar < 1 else 0.0
        return ddpm_step(x, eps, here, there, noise)
