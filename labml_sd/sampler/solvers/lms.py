r"""LMS: linear multistep. A curve through the last four slopes, followed to the end of the step.

Maps       x_t, up to four eps [b c h w], their levels  ->  x at the cleaner level
Paper      Adams and Bashforth 1883; unequal steps: Hairer et al. 1993, Solving ODEs I, section III.5
Reference  k-diffusion k_diffusion/sampling.py, sample_lms (which integrates numerically)
Tests      tests/sampler/solvers/test_lms.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.polynomial.polynomial import polyfromroots, polyint, polyval
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.solvers.euler import euler_step
from labml_sd.sampler.spacing import Spacing, visited

MAX_ORDER = 4  # what the loop's history is long enough for


def lms_weights(sigmas: Sequence[float], there: float) -> list[float]:
    r"""The weight of each slope in the mean slope of a step; they add up to 1.

    $$ w_j = \frac{1}{\sigma_s - \sigma_t} \int_{\sigma_t}^{\sigma_s}
             \prod_{k \ne j} \frac{\sigma - \sigma_k}{\sigma_j - \sigma_k}\, d\sigma $$

    `sigmas` are where the slopes were taken, oldest first; the last is the step's start. The
    integral of each Lagrange polynomial is exact. It is taken in steps: 0 at the start, 1 at
    the end, the past below 0.
    """
    nodes = (np.array(sigmas) - sigmas[-1]) / (there - sigmas[-1])
    weights = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        antiderivative = polyint(polyfromroots(others) / np.prod(node - others))
        weights.append(float(polyval(1.0, antiderivative)))
    return weights


def lms_step(
    x: Float[Tensor, "b c h w"], slopes: Sequence[Tensor], levels: Sequence[Level], there: Level
) -> Float[Tensor, "b c h w"]:
    """One step along the weighted mean of the slopes, which are eps; oldest first, the last from here."""
    weights = lms_weights([level.sigma for level in levels], there.sigma)
    slope = sum((w * eps for w, eps in zip(weights, slopes, strict=True)), start=0 * slopes[-1])
    return euler_step(x, slope, levels[-1], there)


@dataclass(frozen=True)
class LMS:
    """Order 4 from one evaluation a step. The first steps, with less to look back on, have less."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"
    order: int = MAX_ORDER

    def __post_init__(self) -> None:
        """Refuse an order that the history is too short for."""
        if self.order not in range(1, MAX_ORDER + 1):
            raise GenerationError(
                f"order is {self.order!r}; give a whole number from 1 to {MAX_ORDER}"
            )

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
        past = list(history)[-self.order + 1 :] if self.order > 1 else []
        slopes = [*(each.eps for each in past), evaluate(x, here)]
        return lms_step(x, slopes, [*(each.level for each in past), here], there)
