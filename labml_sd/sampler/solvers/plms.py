r"""PLMS: DDIM with a better eps, extrapolated from the last four.

Maps       up to four eps [b c h w]  ->  the eps for DDIM's step
Paper      Liu et al. 2022 (PNDM), arXiv:2202.09778, equations 9 and 12
Reference  CompVis ldm/models/diffusion/plms.py (equal with spacing "uniform", where steps
           divides 1000)
Tests      tests/sampler/solvers/test_plms.py
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule, predict_x0
from labml_sd.sampler.solvers.ddim import DDIM, ddim_step
from labml_sd.sampler.solvers.solver import Solver

ADAMS_BASHFORTH = {
    2: (-1 / 2, 3 / 2),
    3: (5 / 12, -16 / 12, 23 / 12),
    4: (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
}
"""Weights of the last eps, oldest first. They are for steps of equal length in t: with others
the order is lower."""


def plms_eps(past: Sequence[Tensor]) -> Float[Tensor, "b c h w"]:
    r"""Extrapolate eps over the step ahead from two to four of them, oldest first.

    $$ \epsilon' = \tfrac{1}{24} \left(55\,\epsilon_t - 59\,\epsilon_{t+\delta}
                   + 37\,\epsilon_{t+2\delta} - 9\,\epsilon_{t+3\delta}\right) $$

    is that of four, PNDM eq. 12.
    """
    weights = ADAMS_BASHFORTH[len(past)]
    return sum((w * eps for w, eps in zip(weights, past, strict=True)), start=0 * past[-1])


def transfer(
    x: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    """Bring x from here to there along a given eps: PNDM's transfer, eq. 9, is DDIM's step."""
    return ddim_step(predict_x0(x, eps, here), eps, there)


def plms_step(
    x: Float[Tensor, "b c h w"], past: Sequence[Tensor], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    """Bring x from here to there along the extrapolated eps."""
    return transfer(x, plms_eps(past), here, there)


@dataclass(frozen=True)
class PLMS(Solver):
    """One evaluation a step, but two in the first, which has no past eps: n + 1 a run."""

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """DDIM's: the visited levels, then t = 0, or CLEAN when t = 0 is visited itself."""
        return DDIM(self.spacing).levels(schedule, n_steps)

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, no draw; two in a run's first step, unless it goes into CLEAN."""
        x, here, there = given.x, given.here, given.there
        eps = given.evaluate(x, here).eps
        if given.history:
            past = [each.eps for each in given.history[-3:]]
            return plms_step(x, [*past, eps], here, there)
        ahead = transfer(x, eps, here, there)  # [b c h w]: where DDIM would end
        if there.alpha_bar == 1:
            return ahead
        eps_there = given.evaluate(ahead, there).eps
        return transfer(x, (eps + eps_there) / 2, here, there)
