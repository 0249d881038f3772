r"""LMS, linear multistep: a polynomial through the last four slopes, integrated over the step.

Maps       x_t, up to four eps [b c h w], their levels  ->  x at the cleaner level
Paper      Adams and Bashforth 1883; unequal steps: Hairer et al. 1993, Solving ODEs I, section
           III.5
Reference  k-diffusion k_diffusion/sampling.py, sample_lms (which integrates numerically)
Tests      tests/sampler/solvers/test_lms.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.polynomial.polynomial import polyfromroots, polyint, polyval
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.euler import euler_step
from labml_sd.sampler.solvers.solver import Solver

MAX_ORDER = 4  # the loop keeps three past evaluations


def lms_weights(sigmas: Sequence[float], there: float) -> list[float]:
    r"""The weight of each slope in the mean slope of a step; they add up to 1.

    $$ w_j = \frac{1}{\sigma_s - \sigma_t} \int_{\sigma_t}^{\sigma_s}
             \prod_{k \ne j} \frac{\sigma - \sigma_k}{\sigma_j - \sigma_k}\, d\sigma $$

    `sigmas` are where the slopes were taken, oldest first; the last is the step's start. Each
    Lagrange polynomial is integrated exactly, in units of the step: 0 at the start, 1 at the
    end, the past below 0.
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
    """One step along the weighted mean of the slopes, which are eps, oldest first."""
    weights = lms_weights([level.sigma for level in levels], there.sigma)
    slope = sum((w * eps for w, eps in zip(weights, slopes, strict=True)), start=0 * slopes[-1])
    return euler_step(x, slope, levels[-1], there)


@dataclass(frozen=True)
class LMS(Solver):
    """Order 4 from one evaluation a step; lower in the first three steps of a run."""

    order: int = MAX_ORDER

    def __post_init__(self) -> None:
        """Refuse an order that needs a longer history than the loop keeps."""
        if self.order not in range(1, MAX_ORDER + 1):
            raise GenerationError(
                f"order is {self.order!r}; give a whole number from 1 to {MAX_ORDER}"
            )

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, no draw."""
        past = list(given.history)[-self.order + 1 :] if self.order > 1 else []
        seen = [*past, given.evaluate(given.x, given.here)]  # oldest first, at most `order`
        slopes, levels = [each.eps for each in seen], [each.level for each in seen]
        return lms_step(given.x, slopes, levels, given.there)
