r"""DDIM: predict the clean latent, then put back as much of the same noise as the next level wants.

Maps       x_t, eps [b c h w], two levels  ->  x at the cleaner level
Paper      Song et al. 2021, arXiv:2010.02502, equations 12 and 16 (their alpha is our alpha_bar)
Reference  CompVis ldm/models/diffusion/ddim.py (the same with spacing "uniform", where steps divides 1000)
Tests      tests/sampler/solvers/test_ddim.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import Draw, Evaluate, Evaluation
from labml_sd.sampler.schedule import CLEAN, Level, Schedule, predict_x0
from labml_sd.sampler.spacing import Spacing, visited


def ddim_sigma(here: Level, there: Level, eta: float | int) -> float:
    r"""The std of the fresh noise, DDIM eq. 16; not the sigma of `Level`. It is 0 into CLEAN.

    $$ \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}
                \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}} $$
    """
    posterior = (
        (1 - there.alpha_bar) / (1 - here.alpha_bar) * (1 - here.alpha_bar / there.alpha_bar)
    )
    return eta * math.sqrt(posterior)


def ddim_step(
    x: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    sigma: float = 0.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""One step from level t to level s, DDIM eq. 12.

    $$ x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon_\theta
             + \sigma\, \epsilon $$
    """
    x0 = predict_x0(x, eps, here)
    direction = math.sqrt(1 - there.alpha_bar - sigma**2) * eps
    return math.sqrt(there.alpha_bar) * x0 + direction + sigma * noise


def check_eta(eta: float | int) -> None:
    """GenerationError when eta is outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise GenerationError(
            f"eta is {eta!r}; give a number from 0 (no noise drawn) to 1 (as DDPM)"
        )


@dataclass(frozen=True)
class DDIM:
    """With `eta` 0 an ODE solver that draws nothing; with `eta` 1 DDPM on the same levels."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"
    eta: float | int = 0.0

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1: above 1 the noise put in may exceed what the level holds."""
        check_eta(self.eta)

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then the end.

        The end is t = 0, the lowest level the network was trained at, as in CompVis and in the
        settings that diffusers ships for SD: results match theirs, and a trace of noise stays
        (sigma = 0.029). When t = 0 is visited itself, the end is CLEAN: the last step would go
        nowhere otherwise.
        """
        levels = visited(schedule, self.spacing, n_steps)
        return [*levels, CLEAN if levels[-1].t == 0 else schedule.level(0)]

    def step(
        self,
        evaluate: Evaluate,
        x: Tensor,
        here: Level,
        there: Level,
        draw: Draw,
        history: Sequence[Evaluation],
    ) -> Tensor:
        """One evaluation; one draw unless sigma is 0."""
        eps = evaluate(x, here)
        sigma = ddim_sigma(here, there, self.eta)
        return ddim_step(x, eps, here, there, sigma, draw() if sigma > 0 else 0.0)
