r"""PLMS: DDIM with a better eps, extrapolated from the last four.

Maps       up to four eps [b c h w]  ->  the eps for DDIM's step
Paper      Liu et al. 2022 (PNDM), arXiv:2202.09778, equations 9 and 12
Reference  CompVis ldm/models/diffusion/plms.py (the same with spacing "uniform", where steps divides 1000)
Tests      tests/sampler/solvers/test_plms.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ddim import DDIM, ddim_step
from labml_sd.sampler.spacing import Spacing

ADAMS_BASHFORTH = {
    2: (-1 / 2, 3 / 2),
    3: (5 / 12, -16 / 12, 23 / 12),
    4: (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
}
"""Weights of the last eps, oldest first, for steps of equal length in t. Other lists cost some order."""


def plms_eps(past: Sequence[Tensor]) -> Float[Tensor, "b c h w"]:
    r"""Extrapolate eps to the step ahead from two to four of them, oldest first; with four, PNDM eq. 12.

    $$ \epsilon' = \tfrac{1}{24} \left(55\,\epsilon_t - 59\,\epsilon_{t+\delta} + 37\,\epsilon_{t+2\delta}
                   - 9\,\epsilon_{t+3\delta}\right) $$
    """
    weights = ADAMS_BASHFORTH[len(past)]
    return sum((w * eps for w, eps in zip(weights, past, strict=True)), start=0 * past[-1])


def plms_step(
    x: Float[Tensor, "b c h w"], past: Sequence[Tensor], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    """Bring x from here to there with the extrapolated eps. PNDM's transfer, eq. 9, is DDIM's step."""
    return ddim_step(x, plms_eps(past), here, there)


@dataclass(frozen=True)
class PLMS:
    """One evaluation a step but two in the first, which has nothing to look back on: n + 1 a run."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """DDIM's: the visited levels, then t = 0, or CLEAN when t = 0 is visited itself."""
        return DDIM(self.spacing).levels(schedule, n_steps)

    def step(
        self,
        evaluate: Evaluate,
        x: Tensor,
        here: Level,
        there: Level,
        draw: Draw,
        history: Sequence[Evaluation],
    ) -> Tensor:
        """One evaluation, no draw; in a run's first step two, as Heun does, but one into CLEAN."""
        eps = evaluate(x, here)
        if history:
            return plms_step(x, [*(each.eps for each in history[-3:]), eps], here, there)
        ahead = ddim_step(x, eps, here, there)
        if there.alpha_bar == 1:
            return ahead
        return ddim_step(x, (eps + evaluate(ahead, there)) / 2, here, there)
