r"""DPM-Solver-2: take the slope for the whole step from its middle in log sigma.

Maps       x_t, eps at the start or the middle [b c h w], levels  ->  x at the middle or the end
Paper      Lu et al. 2022, arXiv:2206.00927, algorithm 1; Karras et al. 2022, arXiv:2206.00364
           (in sigma)
Reference  k-diffusion k_diffusion/sampling.py, sample_dpm_2 without churn
Tests      tests/sampler/solvers/test_dpm_2.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.between import LevelWithBetween, with_between
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.euler import euler_step
from labml_sd.sampler.solvers.solver import Solver


def dpm_2_step(
    x: Float[Tensor, "b c h w"],
    eps_between: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
) -> Float[Tensor, "b c h w"]:
    r"""The second line of algorithm 1: a step from x along the slope in the middle.

    $$ x_s = \frac{\alpha_s}{\alpha_t}\, x_t
             - \sigma_s \left(e^h - 1\right) \epsilon_\theta(u, m), \qquad
       h = \lambda_s - \lambda_t $$

    In the paper $\alpha = \sqrt{\bar\alpha}$ and $\sigma = \sqrt{1 - \bar\alpha}$. Divided by
    alpha this is Euler's step in our sigma. The first line of the algorithm, from x to u at m,
    is Euler's step to the level in between.
    """
    return euler_step(x, eps_between, here, there)


@dataclass(frozen=True)
class DPM2(Solver):
    """Second order from two evaluations a step; the step into CLEAN has one: 2 n - 1 a run."""

    evaluations_per_step = 2

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Each level but the last with the middle of its step in log sigma."""
        return with_between(schedule, levels)

    def step(self, given: StepInput) -> Tensor:
        """Two evaluations, no draw; Euler's step where `here` has no level in between."""
        x, here, there = given.x, given.here, given.there
        eps = given.evaluate(x, here).eps
        if not isinstance(here, LevelWithBetween):
            return euler_step(x, eps, here, there)
        halfway = euler_step(x, eps, here, here.between)  # u [b c h w], at the level m
        eps_between = given.evaluate(halfway, here.between).eps
        return dpm_2_step(x, eps_between, here, there)
