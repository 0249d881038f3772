r"""DDIM: predict the clean latent, then put back the same noise, as much as the next level has.

Maps       x_t, eps, x0 [b c h w], two levels  ->  x at the cleaner level
Paper      Song et al. 2021, arXiv:2010.02502, equations 12 and 16 (their alpha is our
           alpha_bar)
Reference  CompVis ldm/models/diffusion/ddim.py (equal with spacing "uniform", where steps
           divides 1000)
Tests      tests/sampler/solvers/test_ddim.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.solvers.solver import Solver
from labml_sd.sampler.spacing import visited


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
    x0: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    there: Level,
    sigma: float = 0.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""One step to level s from a prediction made at a noisier level, DDIM eq. 12.

    $$ x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon_\theta
             + \sigma\, \epsilon $$

    The three terms are the predicted clean latent, the direction back to x_t, and fresh noise.
    """
    direction = math.sqrt(1 - there.alpha_bar - sigma**2) * eps
    return math.sqrt(there.alpha_bar) * x0 + direction + sigma * noise


def check_eta(eta: float | int) -> None:
    """GenerationError when eta is outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise GenerationError(
            f"eta is {eta!r}; give a number from 0 (no noise drawn) to 1 (as DDPM)"
        )


@dataclass(frozen=True)
class DDIM(Solver):
    """With `eta` 0 an ODE solver that draws no noise; with `eta` 1 DDPM on the same levels."""

    eta: float | int = 0.0

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1: above 1 the fresh noise may exceed that of the level."""
        check_eta(self.eta)

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then the end.

        The end is t = 0, the lowest level the network was trained at, as in CompVis and in
        diffusers' settings for SD: results equal theirs, and a trace of noise stays (sigma =
        0.029). When t = 0 itself is visited, the end is CLEAN: else the last step would do
        nothing.
        """
        levels = visited(schedule, self.spacing, n_steps)
        return [*levels, CLEAN if levels[-1].t == 0 else schedule.level(0)]

    def step(self, given: StepInput) -> Tensor:
        """One evaluation; one draw unless sigma is 0."""
        now = given.evaluate(given.x, given.here)
        sigma = ddim_sigma(given.here, given.there, self.eta)
        noise = given.draw() if sigma > 0 else 0.0
        return ddim_step(now.x0, now.eps, given.there, sigma, noise)
