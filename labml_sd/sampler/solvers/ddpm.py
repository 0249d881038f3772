r"""DDPM: each step draws from the posterior of the forward process.

Maps       x_t, x0 [b c h w], two levels, noise  ->  x at the cleaner level
Paper      Ho et al. 2020, arXiv:2006.11239, equations 6 and 7
Tests      tests/sampler/solvers/test_ddpm.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.solver import Solver


def ddpm_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Sample the posterior $q(x_s \mid x_t, x_0)$, DDPM eq. 6 and 7.

    $$ \tilde\mu = \frac{\sqrt{\bar\alpha_s}\,\beta}{1 - \bar\alpha_t}\, x_0
                 + \frac{\sqrt{\alpha}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t}\, x_t,
       \qquad \tilde\beta = \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\, \beta $$

    The paper steps from t to t-1; any cleaner level s works in its place: between two visited
    levels $\alpha = \bar\alpha_t / \bar\alpha_s$ and $\beta = 1 - \alpha$.
    """
    alpha = here.alpha_bar / there.alpha_bar
    beta = 1 - alpha
    noise_here, noise_there = 1 - here.alpha_bar, 1 - there.alpha_bar
    mean = (
        math.sqrt(there.alpha_bar) * beta / noise_here * x0
        + math.sqrt(alpha) * noise_there / noise_here * x
    )
    return mean + math.sqrt(noise_there / noise_here * beta) * noise


@dataclass(frozen=True)
class DDPM(Solver):
    """The first diffusion sampler: every step but the last draws noise. It needs many steps."""

    def step(self, given: StepInput) -> Tensor:
        """One evaluation; one draw, none into CLEAN."""
        x0 = given.evaluate(given.x, given.here).x0
        noise = given.draw() if given.there.alpha_bar < 1 else 0.0
        return ddpm_step(given.x, x0, given.here, given.there, noise)
