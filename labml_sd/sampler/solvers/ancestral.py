r"""Ancestral steps: go below the next level, then add fresh noise up to it.

Maps       x [b c h w], a predicted clean latent, two levels, noise  ->  x at the cleaner level
Paper      Song et al. 2021 (DDIM), arXiv:2010.02502, equations 12 and 16, written in sigma
Reference  k-diffusion sampling.py, get_ancestral_step
Tests      tests/sampler/solvers/test_ancestral.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.between import LevelWithBetween
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ddim import check_eta
from labml_sd.sampler.solvers.solver import Solver


def ancestral_split(
    sigma_from: float | int, sigma_to: float | int, eta: float | int = 1.0
) -> tuple[float, float]:
    r"""Split the noise of a level into old and fresh: (sigma_down, sigma_up).

    $$ \sigma_{up} = \eta\, \sigma_s \sqrt{1 - \sigma_s^2 / \sigma_t^2}, \qquad
       \sigma_{down}^2 + \sigma_{up}^2 = \sigma_s^2 $$

    Variances add, so both noises together are at level s. `eta` is in [0, 1]: 0 keeps the old
    noise alone, and 1 is the posterior that DDPM draws from.
    """
    sigma_up = eta * sigma_to * math.sqrt(1 - (sigma_to / sigma_from) ** 2)
    return math.sqrt(sigma_to**2 - sigma_up**2), sigma_up


def ancestral_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Go straight towards x0 down to sigma_down, then add noise of std sigma_up.

    $$ \tilde x_s = \frac{\sigma_{down}}{\sigma_t}\, \tilde x_t
                  + \left(1 - \frac{\sigma_{down}}{\sigma_t}\right) x_0 + \sigma_{up}\,
                  \epsilon,
       \qquad \tilde x = x / \sqrt{\bar\alpha} $$

    Into CLEAN both sigmas are 0 and the result is x0.
    """
    sigma_down, sigma_up = ancestral_split(here.sigma, there.sigma, eta)
    kept = sigma_down / here.sigma  # the share of x that is left; the rest is x0
    moved = kept / math.sqrt(here.alpha_bar) * x + (1 - kept) * x0
    return math.sqrt(there.alpha_bar) * (moved + sigma_up * noise)


def with_ancestral_between(
    schedule: Schedule, levels: Sequence[Level], eta: float | int
) -> list[Level]:
    r"""Give each level but the last the one halfway, in log sigma, to its step's sigma_down.

    With eta 1 that is the level of the next step itself: $\sqrt{\sigma_t \sigma_{down}} =
    \sigma_s$. Before a level without noise there is none, as in `between.with_between`.
    """
    listed: list[Level] = []
    for here, there in pairwise(levels):
        sigma_down, _ = ancestral_split(here.sigma, there.sigma, eta)
        if sigma_down == 0:
            listed.append(here)
            continue
        between = schedule.at_sigma(math.sqrt(here.sigma * sigma_down))
        listed.append(LevelWithBetween(here.t, here.alpha_bar, between=between))
    return [*listed, levels[-1]]


@dataclass(frozen=True)
class AncestralSolver(Solver):
    """A sampler that draws fresh noise: `eta` in [0, 1] is its share, `s_noise` scales it."""

    eta: float | int = 1.0
    s_noise: float | int = 1.0

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1, and an s_noise that is negative or not finite."""
        check_eta(self.eta)
        if not 0 <= self.s_noise < math.inf:
            raise GenerationError(
                f"s_noise is {self.s_noise!r}; give a number from 0 up, "
                "1 for the noise of the equations"
            )

    def noise(self, given: StepInput) -> Float[Tensor, "b c h w"] | float:
        """The noise of a step; with eta 0 and into CLEAN it is 0.0, without a draw."""
        draws = self.eta > 0 and given.there.alpha_bar < 1
        return self.s_noise * given.draw() if draws else 0.0
