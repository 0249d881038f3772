r"""DPM-Solver++(2S) ancestral: the clean latent predicted halfway is used for the whole step.

Maps       x_t, x0 predicted halfway [b c h w], two levels, noise  ->  x at the cleaner level
Paper      Lu et al. 2022, arXiv:2211.01095, Algorithm 1 with r = 1/2; the noise is DDIM's eq.
           16
Reference  k-diffusion sampling.py, sample_dpmpp_2s_ancestral
Tests      tests/sampler/solvers/test_dpmpp_2s_a.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.between import LevelWithBetween
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ancestral import (
    AncestralSolver,
    ancestral_step,
    with_ancestral_between,
)
from labml_sd.sampler.solvers.dpmpp_2m import dpmpp_first_order_step


def dpmpp_2s_a_step(
    x: Float[Tensor, "b c h w"],
    x0_between: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Go towards the clean latent predicted halfway, then add noise.

    $$ \tilde x_s = e^{-h}\, \tilde x_t + (1 - e^{-h})\, x_0(x_m, \sigma_m)
                   + \sigma_{up}\, \epsilon, \qquad e^{-h} = \sigma_{down} / \sigma_t $$

    DPM2 ancestral takes eps from the point halfway; this takes x0. With r = 1/2 the weights of
    Algorithm 1 are 0 for the first prediction and 1 for the second.
    """
    return ancestral_step(x, x0_between, here, there, eta, noise)


@dataclass(frozen=True)
class DPMpp2SA(AncestralSolver):
    """Second order apart from the noise, for two evaluations a step.

    With eta 0 it is DPM-Solver++(2S). The step into CLEAN has no point halfway in log sigma: it
    is Euler's, with one evaluation.
    """

    evaluations_per_step = 2

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Each level but the last with the one halfway to its sigma_down."""
        return with_ancestral_between(schedule, levels, self.eta)

    def step(self, given: StepInput) -> Tensor:
        """Two evaluations and one draw; into CLEAN one evaluation and no draw."""
        x, here, there = given.x, given.here, given.there
        x0 = given.evaluate(x, here).x0
        noise = self.noise(given)
        if not isinstance(here, LevelWithBetween):
            return ancestral_step(x, x0, here, there, self.eta, noise)
        halfway = dpmpp_first_order_step(x, x0, here, here.between)  # [b c h w], without noise
        x0_between = given.evaluate(halfway, here.between).x0
        return dpmpp_2s_a_step(x, x0_between, here, there, self.eta, noise)
