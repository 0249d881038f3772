r"""Euler ancestral: Euler's step to below the next level, then fresh noise up to it.

Maps       x_t, eps [b c h w], two levels  ->  x at the cleaner level
Paper      Song et al. 2021 (DDIM), arXiv:2010.02502, equations 12 and 16: the same step in
           sigma
Reference  k-diffusion sampling.py, sample_euler_ancestral
Tests      tests/sampler/solvers/test_euler_a.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.ancestral import AncestralSolver, ancestral_split


def euler_a_step(
    x: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Follow the slope eps down to sigma_down, then add noise.

    $$ \tilde x_s = \tilde x_t + (\sigma_{down} - \sigma_t)\, \epsilon_\theta
                   + \sigma_{up}\, \epsilon, \qquad \tilde x = x / \sqrt{\bar\alpha} $$

    It is DDIM's step with the same eta, in sigma. Into CLEAN both sigmas are 0 and the result
    is x0.
    """
    sigma_down, sigma_up = ancestral_split(here.sigma, there.sigma, eta)
    x_sigma = x / math.sqrt(here.alpha_bar) + (sigma_down - here.sigma) * eps
    return math.sqrt(there.alpha_bar) * (x_sigma + sigma_up * noise)


@dataclass(frozen=True)
class EulerA(AncestralSolver):
    """First order; with eta 1 it samples as DDPM on the same levels, with eta 0 it is Euler.

    More steps give another picture, as each step draws noise. `s_noise` scales that noise.
    """

    def step(self, given: StepInput) -> Tensor:
        """One evaluation; one draw, none into CLEAN."""
        eps = given.evaluate(given.x, given.here).eps
        noise = self.noise(given)
        return euler_a_step(given.x, eps, given.here, given.there, self.eta, noise)
