r"""DPM-Solver++(2M): a second-order ODE solver that gets its second point from the step before.

Maps       x [b c h w], one or two predictions of the clean latent, the levels
           ->  x at the cleaner level
Paper      Lu et al. 2022, arXiv:2211.01095, Algorithm 2 (data prediction, multistep)
Tests      tests/sampler/solvers/test_dpmpp_2m.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level
from labml_sd.sampler.solvers.solver import Solver


def dpmpp_first_order_step(
    x: Float[Tensor, "b c h w"], x0: Float[Tensor, "b c h w"], here: Level, there: Level
) -> Float[Tensor, "b c h w"]:
    r"""Go from level t to level s with one predicted clean latent, as Algorithm 2 starts.

    $$ x_s = \frac{\sigma_s}{\sigma_t}\, x_t - \alpha_s \left(e^{-h} - 1\right) D,
       \qquad h = \lambda_s - \lambda_t $$

    In the paper $\alpha = \sqrt{\bar\alpha}$ and $\sigma = \sqrt{1 - \bar\alpha}$. Here D is
    x0, which makes the step DDIM's. Into CLEAN h is infinite, and the result is $x_s = D$.
    """
    h = there.half_log_snr - here.half_log_snr
    noise_ratio = math.sqrt((1 - there.alpha_bar) / (1 - here.alpha_bar))
    return noise_ratio * x - math.sqrt(there.alpha_bar) * math.expm1(-h) * x0


def dpmpp_2m_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    x0_before: Float[Tensor, "b c h w"],
    before: Level,
    here: Level,
    there: Level,
) -> Float[Tensor, "b c h w"]:
    r"""The same step with D on the line through two predictions, as Algorithm 2 continues.

    $$ D = \left(1 + \frac{1}{2r}\right) x_0 - \frac{1}{2r}\, x_0^{before}, \qquad
       r = \frac{h_{before}}{h} $$

    `there` must have some noise: into CLEAN h is infinite, and so would D be.
    """
    h_before = here.half_log_snr - before.half_log_snr
    h = there.half_log_snr - here.half_log_snr
    half_inverse_r = 0.5 * h / h_before
    ahead = (1 + half_inverse_r) * x0 - half_inverse_r * x0_before
    return dpmpp_first_order_step(x, ahead, here, there)


@dataclass(frozen=True)
class DPMpp2M(Solver):
    """Good pictures in 20 steps: one evaluation a step, no noise drawn, second order."""

    def step(self, given: StepInput) -> Tensor:
        """One evaluation. First order in the first step of a run, and into CLEAN."""
        x, here, there = given.x, given.here, given.there
        x0 = given.evaluate(x, here).x0
        if not given.history or there.alpha_bar == 1:
            return dpmpp_first_order_step(x, x0, here, there)
        before = given.history[-1]
        return dpmpp_2m_step(x, x0, before.x0, before.level, here, there)
