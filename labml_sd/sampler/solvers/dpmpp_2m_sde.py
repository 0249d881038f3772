r"""DPM-Solver++(2M) SDE: a line through the last two predictions, with noise added.

Maps       x, one or two predictions of the clean latent [b c h w], levels, noise
           ->  x at the cleaner level
Paper      Lu et al. 2022, arXiv:2211.01095, SDE-DPM-Solver++(2M), which is eta 1
Reference  k-diffusion sampling.py, sample_dpmpp_2m_sde
Tests      tests/sampler/solvers/test_dpmpp_2m_sde.py
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.ancestral import AncestralSolver


def sde_first_order_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
) -> Float[Tensor, "b c h w"]:
    r"""Solve the SDE over one step, exactly, for a prediction D that stays the same.

    $$ \tilde x_s = e^{-H}\, \tilde x_t\, + (1 - e^{-H})\, D
                   + \sigma_s \sqrt{1 - e^{-2 \eta h}}\, \epsilon, \qquad
       H = (1 + \eta)\, h, \quad e^{-h} = \sigma_s / \sigma_t $$

    Here $\tilde x = x / \sqrt{\bar\alpha}$. With eta 0 this is Euler's step, with eta 1 Euler
    ancestral's, in between neither. Into CLEAN the result is D.
    """
    ratio = there.sigma / here.sigma
    kept = ratio ** (1 + eta)
    moved = kept / math.sqrt(here.alpha_bar) * x + (1 - kept) * x0
    return math.sqrt(there.alpha_bar) * (
        moved + there.sigma * math.sqrt(1 - ratio ** (2 * eta)) * noise
    )


def mean_time(big_h: float) -> float:
    r"""The mean place in the step, from 0 to 1, under the weights that D is integrated with.

    $$ \int_0^1 \tau\, \frac{H e^{-H (1 - \tau)}}{1 - e^{-H}}\, d\tau
       = \frac{1}{1 - e^{-H}} - \frac{1}{H} $$

    1/2 for a short step, nearer to the step's end for a longer one.
    """
    return -1 / math.expm1(-big_h) - 1 / big_h


def dpmpp_2m_sde_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    x0_before: Float[Tensor, "b c h w"],
    before: Level,
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
    solver_type: str = "midpoint",
) -> Float[Tensor, "b c h w"]:
    r"""The same step with D on the line through two predictions, over $\lambda = -\log\sigma$.

    $$ D = x_0 + \frac{\bar\tau}{r} \left(x_0 - x_0^{before}\right), \qquad
       r = \frac{h_{before}}{h} $$

    "heun" puts $\bar\tau$ at `mean_time`, which is exact for a line; "midpoint" at 1/2. `there`
    must have some noise: into CLEAN h is infinite, and so would D be.
    """
    h_before = here.half_log_snr - before.half_log_snr
    h = there.half_log_snr - here.half_log_snr
    tau = mean_time((1 + eta) * h) if solver_type == "heun" else 0.5
    ahead = x0 + tau * h / h_before * (x0 - x0_before)
    return sde_first_order_step(x, ahead, here, there, eta, noise)


@dataclass(frozen=True)
class DPMpp2MSDE(AncestralSolver):
    """One evaluation a step, second order apart from the noise.

    With eta 0 and "midpoint" it is DPM-Solver++(2M). k-diffusion draws from a Brownian tree.
    Its steps do not overlap, so independent draws have the same distribution; but one seed
    gives another picture.
    """

    solver_types: ClassVar[tuple[str, ...]] = ("midpoint", "heun")

    solver_type: str = "midpoint"

    def __post_init__(self) -> None:
        """Refuse an eta outside 0..1, a negative s_noise and an unknown solver type."""
        super().__post_init__()
        if self.solver_type not in self.solver_types:
            raise GenerationError(
                f"solver_type is {self.solver_type!r}; "
                f"choose one of {', '.join(self.solver_types)}"
            )

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, one draw. First order in the first step of a run, and into CLEAN."""
        x, here, there = given.x, given.here, given.there
        x0 = given.evaluate(x, here).x0
        noise = self.noise(given)
        if not given.history or there.alpha_bar == 1:
            return sde_first_order_step(x, x0, here, there, self.eta, noise)
        past = given.history[-1]
        return dpmpp_2m_sde_step(
            x, x0, past.x0, past.level, here, there, self.eta, noise, self.solver_type
        )
