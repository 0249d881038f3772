r"""DPM-Solver++ SDE: a noisy step to a level in between, and what is found there corrects the whole step.

Maps       x_t, two predictions of the clean latent [b c h w], the levels, noise  ->  x at the cleaner level
Paper      Lu et al. 2022, arXiv:2211.01095, Algorithm 1 (data prediction, one step), with DDIM's noise twice
Reference  k-diffusion sampling.py, sample_dpmpp_sde
Tests      tests/sampler/solvers/test_dpmpp_sde.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.between import LevelWithBetween, with_between
from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import CLEAN, Level, Schedule, predict_x0
from labml_sd.sampler.solvers.ancestral import ancestral_step, check_noise_shares, step_noise
from labml_sd.sampler.spacing import Spacing, visited


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
    r"""The ancestral step with D on the line through the two predictions, in the middle of the step.

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
    r"""The noise of the whole step, standard normal, from those of its two parts.

    $$ \epsilon = \sqrt{w}\, \epsilon_1 + \sqrt{1 - w}\, \epsilon_2, \qquad
       w = \frac{\sigma_t - \sigma_m}{\sigma_t - \sigma_s} $$

    A Brownian path in sigma moves over the whole step by what it moves over the two parts: the
    noise that brought x to the level in between is in the whole step's, too.
    """
    share = min(
        1.0, (here.sigma - here.between.sigma) / (here.sigma - there.sigma)
    )  # r = 1, rounded
    return math.sqrt(share) * first + math.sqrt(1 - share) * second


@dataclass(frozen=True)
class DPMppSDE:
    """Two evaluations and two draws a step: one for the part of the step before r, one for the part after.

    k-diffusion draws from a Brownian tree. Two draws joined by `whole_noise` have the same
    distribution; the path of a seed is another. The step into CLEAN is Euler's: one evaluation,
    no draw.
    """

    evaluations_per_step: ClassVar[int] = 2

    spacing: Spacing = "trailing"
    eta: float | int = 1.0
    s_noise: float | int = 1.0
    r: float | int = 0.5

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1, a negative s_noise and an r that is not inside the step."""
        check_noise_shares(self.eta, self.s_noise)
        if not 0 < self.r <= 1:
            raise GenerationError(
                f"r is {self.r!r}; give a number above 0 and up to 1, the step's end"
            )

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, each with the one at r of its step in log sigma, then CLEAN."""
        levels = [*visited(schedule, self.spacing, n_steps), CLEAN]
        return with_between(schedule, levels, share=float(self.r))

    def step(
        self,
        evaluate: Evaluate,
        x: Tensor,
        here: Level,
        there: Level,
        draw: Draw,
        history: Sequence[Evaluation],
    ) -> Tensor:
        """Two evaluations and two draws; into CLEAN one evaluation and no draw."""
        x0 = predict_x0(x, evaluate(x, here), here)
        first = step_noise(draw, there, self.eta, self.s_noise)
        if not isinstance(here, LevelWithBetween):
            return ancestral_step(x, x0, here, there, self.eta, first)
        x_between = ancestral_step(x, x0, here, here.between, self.eta, first)
        x0_between = predict_x0(x_between, evaluate(x_between, here.between), here.between)
        noise = whole_noise(first, step_noise(draw, there, self.eta, self.s_noise), here, there)
        return dpmpp_sde_step(x, x0, x0_between, here, there, self.r, self.eta, noise)
