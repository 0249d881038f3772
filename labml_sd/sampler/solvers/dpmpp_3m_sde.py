r"""DPM-Solver++(3M) SDE: a parabola through the last three predictions, with noise added.

Maps       x, up to three predictions of the clean latent [b c h w], levels, noise
           ->  x at the cleaner level
Paper      none; the expansion of SDE-DPM-Solver++(2M), Lu et al. 2022, arXiv:2211.01095, with
           one more term
Reference  k-diffusion sampling.py, sample_dpmpp_3m_sde
Tests      tests/sampler/solvers/test_dpmpp_3m_sde.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import Evaluation, StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.dpmpp_2m_sde import (
    DPMpp2MSDE,
    dpmpp_2m_sde_step,
    mean_time,
    sde_first_order_step,
)


def dpmpp_3m_sde_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    past: Sequence[Evaluation],
    here: Level,
    there: Level,
    eta: float | int = 1.0,
    noise: Float[Tensor, "b c h w"] | float = 0.0,
    solver_type: str = "exact",
) -> Float[Tensor, "b c h w"]:
    r"""The first-order step with D on the parabola through x0 and the last two of `past`.

    Time is counted in steps, $\tau = (\lambda - \lambda_t) / h$: x0 is at 0, the others at
    $-r_0$ and $-r_0 - r_1$. The parabola is in Newton's form.

    $$ D = x_0 + \bar\tau\, D_{01}
           + \left(\overline{\tau^2} + r_0 \bar\tau\right) D_{012}, \qquad
       D_{01} = \frac{x_0 - x_0^{(1)}}{r_0}, \quad
       D_{012} = \frac{D_{01} - (x_0^{(1)} - x_0^{(2)}) / r_1}{r_0 + r_1} $$

    The means, under the weights of `mean_time`, make it the exact integral of the parabola.
    "k_diffusion" halves the mean of tau squared, as k-diffusion does: it uses $D_{012}$ where
    the second derivative, twice of it, belongs, which costs the third order. `there` must have
    some noise.
    """
    h = there.half_log_snr - here.half_log_snr
    r0 = (here.half_log_snr - past[-1].level.half_log_snr) / h
    r1 = (past[-1].level.half_log_snr - past[-2].level.half_log_snr) / h
    slope = (x0 - past[-1].x0) / r0  # D_01
    curvature = (slope - (past[-1].x0 - past[-2].x0) / r1) / (r0 + r1)  # D_012
    tau, tau_squared = mean_time((1 + eta) * h), mean_squared_time((1 + eta) * h)
    if solver_type == "k_diffusion":
        tau_squared = tau_squared / 2
    ahead = x0 + tau * slope + (tau_squared + r0 * tau) * curvature
    return sde_first_order_step(x, ahead, here, there, eta, noise)


def mean_squared_time(big_h: float) -> float:
    r"""$\overline{\tau^2} = 1 / (1 - e^{-H}) - 2 \bar\tau / H$, a mean as in `mean_time`."""
    return -1 / math.expm1(-big_h) - 2 / big_h * mean_time(big_h)


@dataclass(frozen=True)
class DPMpp3MSDE(DPMpp2MSDE):
    """One evaluation a step, third order apart from the noise, from the third step on.

    The second step of a run has two: it is DPM-Solver++(2M) SDE's with "heun", whose noise this
    one has, too.
    """

    solver_types = ("exact", "k_diffusion")

    solver_type: str = "exact"

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, one draw. As many predictions as there are; into CLEAN one."""
        x, here, there = given.x, given.here, given.there
        x0 = given.evaluate(x, here).x0
        noise = self.noise(given)
        if not given.history or there.alpha_bar == 1:
            return sde_first_order_step(x, x0, here, there, self.eta, noise)
        if len(given.history) == 1:
            past = given.history[-1]
            return dpmpp_2m_sde_step(
                x, x0, past.x0, past.level, here, there, self.eta, noise, "heun"
            )
        return dpmpp_3m_sde_step(
            x, x0, given.history, here, there, self.eta, noise, self.solver_type
        )
