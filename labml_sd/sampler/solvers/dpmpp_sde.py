r"""DPM-Solver++ SDE: a noisy step to a level in between, then the whole step from there.

Maps       x_t, two predictions of the clean latent [b c h w], the levels, noise
           ->  x at the cleaner level
Paper      Lu et al. 2022, arXiv:2211.01095, Algorithm 1 (data prediction, one step), with
           DDIM's noise twice
Reference  k-diffusion sampling.py, sample_dpmpp_sde
Tests      tests/sampler/solvers/test_dpmpp_sde.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.between import LevelWithBetween, with_between
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ancestral import AncestralSolver, ancestral_step


def dpmpp_sde_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    x0_between: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    r: float | int = 0.5,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""The ancestral step with D on the line through two predictions, at mid-step.

    $$ D = \left(1 - \frac{1}{2r}\right) x_0 + \frac{1}{2r}\, x_0(x_m, \sigma_m) $$

    r is the place of m in the step, in log sigma; with r = 1/2 D is the prediction in between.
    """
    ahead = (1 - 0.5 / r) * x0 + 0.5 / r * x0_between
    return ancestral_step(x, ahead, here, there, eta, noise)


def whole_noise(
    first: Float[Tensor, "b c h w"] | float,
    second: Float[Tensor, "b c h w"] | float,
    here: LevelWithBetween,
    there: Level,
) -> Float[Tensor, "b c h w"] | float:
    r"""The noise of the whole step, standard normal, from the noises of its two parts.

    $$ \epsilon = \sqrt{w}\, \epsilon_1 + \sqrt{1 - w}\, \epsilon_2, \qquad
       w = \frac{\sigma_t - \sigma_m}{\sigma_t - \sigma_s} $$

    The increment of a Brownian path in sigma over the whole step is the sum of its increments
    over the two parts: the noise that brought x to the level in between is in it, too.
    """
    share = (here.sigma - here.between.sigma) / (here.sigma - there.sigma)
    share = min(1.0, share)  # with r = 1 it can be rounded up
    return math.sqrt(share) * first + math.sqrt(1 - share) * second


@dataclass(frozen=True)
class DPMppSDE(AncestralSolver):
    """Two evaluations and two draws a step: one draw before r of the step and one after.

    k-diffusion draws from a Brownian tree. Two draws joined by `whole_noise` have the same
    distribution; but one seed gives another picture. The step into CLEAN is Euler's: one
    evaluation, no draw.
    """

    evaluations_per_step = 2

    r: float | int = 0.5

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1, a negative s_noise and an r outside the step."""
        super().__post_init__()
        if not 0 < self.r <= 1:
            raise GenerationError(
                f"r is {self.r!r}; give a number above 0 and up to 1, the step's end"
            )

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Each level but the last with the one at r of its step in log sigma."""
        return with_between(schedule, levels, share=float(self.r))

    def step(self, given: StepInput) -> Tensor:
        """Two evaluations and two draws; into CLEAN one evaluation and no draw."""
        x, here, there = given.x, given.here, given.there
        x0 = given.evaluate(x, here).x0
        first = self.noise(given)
        if not isinstance(here, LevelWithBetween):
            return ancestral_step(x, x0, here, there, self.eta, first)
        x_between = ancestral_step(x, x0, here, here.between, self.eta, first)  # [b c h w]
        x0_between = given.evaluate(x_between, here.between).x0
        noise = whole_noise(first, self.noise(given), here, there)
        return dpmpp_sde_step(x, x0, x0_between, here, there, self.r, self.eta, noise)
