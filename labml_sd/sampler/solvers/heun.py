r"""Heun: an Euler step, then the same step again with the mean of the slopes at its two ends.

Maps       x_t, eps at both ends [b c h w], two levels  ->  x at the cleaner level
Paper      Karras et al. 2022, arXiv:2206.00364, algorithm 2 with S_churn = 0
Reference  k-diffusion k_diffusion/sampling.py, sample_heun without churn
Tests      tests/sampler/solvers/test_heun.py
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.euler import euler_step
from labml_sd.sampler.solvers.solver import Solver


def heun_step(
    x: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    eps_there: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
) -> Float[Tensor, "b c h w"]:
    r"""The corrected step of algorithm 2: Euler's, with $d = (\epsilon_t + \epsilon_s) / 2$.

    `eps_there` is the network's answer at the end of the plain Euler step.
    """
    return euler_step(x, (eps + eps_there) / 2, here, there)


@dataclass(frozen=True)
class Heun(Solver):
    """Second order from two evaluations a step; the step into CLEAN has one: 2 n - 1 a run."""

    evaluations_per_step = 2

    def step(self, given: StepInput) -> Tensor:
        """Two evaluations, no draw; one into CLEAN, where the network was never trained."""
        x, here, there = given.x, given.here, given.there
        eps = given.evaluate(x, here).eps
        ahead = euler_step(x, eps, here, there)  # [b c h w]: where Euler would end
        if there.alpha_bar == 1:
            return ahead
        return heun_step(x, eps, given.evaluate(ahead, there).eps, here, there)
