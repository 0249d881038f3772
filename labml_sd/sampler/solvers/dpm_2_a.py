r"""DPM2 ancestral: the slope halfway is used for the whole step, then fresh noise is added.

Maps       x_t, eps halfway [b c h w], two levels  ->  x at the cleaner level
Paper      Lu et al. 2022 (DPM-Solver), arXiv:2206.00927, Algorithm 1; the noise is DDIM's eq.
           16
Reference  k-diffusion sampling.py, sample_dpm_2_ancestral
Tests      tests/sampler/solvers/test_dpm_2_a.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.between import LevelWithBetween
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ancestral import AncestralSolver, with_ancestral_between
from labml_sd.sampler.solvers.euler import euler_step
from labml_sd.sampler.solvers.euler_a import euler_a_step


def dpm_2_a_step(
    x: Float[Tensor, "b c h w"],
    eps_between: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Euler ancestral's step, along the slope found halfway down.

    $$ \tilde x_s = \tilde x_t + (\sigma_{down} - \sigma_t)\, \epsilon_\theta(x_m, \sigma_m)
                  + \sigma_{up}\, \epsilon, \qquad \sigma_m = \sqrt{\sigma_t\, \sigma_{down}} $$
    """
    return euler_a_step(x, eps_between, here, there, eta, noise)


@dataclass(frozen=True)
class DPM2A(AncestralSolver):
    """Second order apart from the noise, for two evaluations a step; with eta 0 it is DPM2.

    The step into CLEAN has no point halfway in log sigma: it is Euler's, with one evaluation.
    """

    evaluations_per_step = 2

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Each level but the last with the one halfway to its sigma_down."""
        return with_ancestral_between(schedule, levels, self.eta)

    def step(self, given: StepInput) -> Tensor:
        """Two evaluations and one draw; into CLEAN one evaluation and no draw."""
        x, here, there = given.x, given.here, given.there
        eps = given.evaluate(x, here).eps
        noise = self.noise(given)
        if not isinstance(here, LevelWithBetween):
            return euler_a_step(x, eps, here, there, self.eta, noise)
        halfway = euler_step(x, eps, here, here.between)  # [b c h w]: at the level in between
        eps_between = given.evaluate(halfway, here.between).eps
        return dpm_2_a_step(x, eps_between, here, there, self.eta, noise)
