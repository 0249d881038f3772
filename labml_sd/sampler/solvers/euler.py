r"""Euler: follow the slope at the start of the step to its end, in sigma.

Maps       x_t, eps [b c h w], two levels  ->  x at the cleaner level
Paper      Karras et al. 2022, arXiv:2206.00364, algorithm 2 with S_churn = 0, without its
           correction
Reference  k-diffusion k_diffusion/sampling.py, sample_euler without churn
Tests      tests/sampler/solvers/test_euler.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.solver import Solver


def euler_step(
    x: Float[Tensor, "b c h w"], slope: Float[Tensor, "b c h w"], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    r"""One straight step of the probability-flow ODE.

    $$ \frac{x_s}{\sqrt{\bar\alpha_s}}
       = \frac{x_t}{\sqrt{\bar\alpha_t}} + (\sigma_s - \sigma_t)\, d $$

    In sigma the ODE is $dx/d\sigma = (x - D)/\sigma = \epsilon_\theta$: the slope d is the
    predicted noise. With d = eps the step is DDIM's; other samplers pass a better slope.
    """
    x_sigma = x / math.sqrt(here.alpha_bar) + (there.sigma - here.sigma) * slope
    return math.sqrt(there.alpha_bar) * x_sigma  # back from sigma's form to ours


@dataclass(frozen=True)
class Euler(Solver):
    """DDIM with eta 0, written in sigma; but Euler ends at CLEAN, and DDIM at t = 0."""

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, no draw."""
        eps = given.evaluate(given.x, given.here).eps
        return euler_step(given.x, eps, given.here, given.there)
