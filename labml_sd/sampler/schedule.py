r"""The noise schedule: how much of a latent is signal at time t, and how much is noise.

Maps       a time t in 0..999, or a sigma  ->  alpha_bar, the share of signal variance left
Paper      Ho et al. 2020 (DDPM), arXiv:2006.11239, equation 4; "scaled linear" betas of latent
           diffusion
Reference  CompVis ldm/modules/diffusionmodules/util.py, make_beta_schedule (float64 there too)
Tests      tests/sampler/test_schedule.py
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.errors import GenerationError


@dataclass(frozen=True)
class Level:
    r"""One noise level: $x_t = \sqrt{\bar\alpha}\, z + \sqrt{1 - \bar\alpha}\, \epsilon$.

    `t` is the time given to the network and may lie between two whole steps. `alpha_bar` is in
    [0, 1]; 0 is pure noise, which SD's schedule does not reach. Both are Python floats: every
    coefficient computed from them is float64, and none of them waits for a GPU.
    """

    t: float
    alpha_bar: float

    @property
    def sigma(self) -> float:
        r"""Noise per unit of signal as in k-diffusion, $\sqrt{(1 - \bar\alpha) / \bar\alpha}$.

        In sigma the latent is ours divided, $x_\sigma = x_t / \sqrt{\bar\alpha} = z +
        \sigma\epsilon$. It is infinite at pure noise.
        """
        if self.alpha_bar == 0:
            return math.inf
        return math.sqrt((1 - self.alpha_bar) / self.alpha_bar)

    @property
    def half_log_snr(self) -> float:
        r"""$\lambda = \log(\sqrt{\bar\alpha} / \sqrt{1-\bar\alpha}) = -\log\sigma$."""
        return -math.log(self.sigma) if self.alpha_bar < 1 else math.inf


NEARLY_ZERO = 2.0**-24  # sigma 4096
CLEAN = Level(t=0.0, alpha_bar=1.0)
"""No noise at all. Below the schedule: at t = 0 a little noise is left, sigma = 0.029."""


class Schedule:
    r"""The tables of the forward process: float64 on the CPU, for every model.

    $$ \beta_t = \left(\sqrt{\beta_0}
         + \tfrac{t}{T-1} (\sqrt{\beta_{T-1}} - \sqrt{\beta_0})\right)^2, \qquad
       \bar\alpha_t = \prod_{s \le t} (1 - \beta_s) $$

    `t` counts from 0. The tables are plain tensors, not parameters: casting the model to half
    precision does not change them.
    """

    n_steps: int
    beta: Float[Tensor, " n_steps"]
    alpha_bar: Float[Tensor, " n_steps"]
    log_sigma: Float[Tensor, " n_steps"]

    def __init__(self, config: ScheduleConfig) -> None:
        """Compute the tables from the first and the last beta."""
        root_start, root_end = math.sqrt(config.beta_start), math.sqrt(config.beta_end)
        # The device is given because models are built inside `with torch.device("meta")`.
        root = torch.linspace(
            root_start, root_end, config.n_steps, dtype=torch.float64, device="cpu"
        )
        self.n_steps = config.n_steps
        self.beta = root**2  # [n_steps]: noise variance added at each time
        self.alpha_bar = torch.cumprod(1 - self.beta, dim=0)  # [n_steps]: signal variance left
        if config.zero_snr:
            self.alpha_bar = zero_terminal_snr(self.alpha_bar)
        self.log_sigma = 0.5 * torch.log((1 - self.alpha_bar) / self.alpha_bar)

    def level(self, t: float | int) -> Level:
        r"""The level of a time t in 0..n_steps-1; IndexError outside, also for a negative t.

        A whole t is read from the table. Between two of them $\log\sigma$ is linear in t.
        """
        if not 0 <= t <= self.n_steps - 1:
            raise IndexError(f"t = {t} is outside the schedule 0..{self.n_steps - 1}")
        if t == int(t):
            return Level(t=float(t), alpha_bar=float(self.alpha_bar[int(t)]))
        log_sigma = np.interp(t, np.arange(self.n_steps), self.log_sigma.numpy())
        return Level(t=float(t), alpha_bar=1 / (1 + math.exp(2 * log_sigma)))

    def at_sigma(self, sigma: float | int) -> Level:
        r"""The level of any sigma >= 0, with its time: the inverse of `level`.

        $t$ is linear in $\log\sigma$ between two whole times, as in k-diffusion. alpha_bar is
        exactly $1 / (1 + \sigma^2)$. Outside the schedule t stays at its first or last time;
        sigma 0 is CLEAN. GenerationError when sigma is negative or not finite.
        """
        if not (math.isfinite(sigma) and sigma >= 0):
            raise GenerationError(
                f"sigma is {sigma!r}; give a finite number, 0 (clean) or above"
            )
        if sigma == 0:
            return CLEAN
        t = np.interp(math.log(sigma), self.log_sigma.numpy(), np.arange(self.n_steps))
        return Level(t=float(t), alpha_bar=1 / (1 + sigma**2))


def zero_terminal_snr(alpha_bar: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    r"""A schedule that ends in pure noise: Lin et al. 2023, arXiv:2305.08891, algorithm 1.

    $$ \sqrt{\bar\alpha_t} \leftarrow \sqrt{\bar\alpha_0}\,
       \frac{\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_{T-1}}}
            {\sqrt{\bar\alpha_0} - \sqrt{\bar\alpha_{T-1}}} $$

    The last is `NEARLY_ZERO` instead of 0, as in other programs, so that its sigma is finite.
    """
    root = alpha_bar.sqrt()
    first, last = root[0], root[-1]
    shifted = ((root - last) * first / (first - last)) ** 2
    return shifted.clamp(min=NEARLY_ZERO)


def add_noise(
    z: Float[Tensor, "b c h w"], noise: Float[Tensor, "b c h w"], level: Level
) -> Float[Tensor, "b c h w"]:
    r"""Noise a latent, DDPM eq. 4: $\sqrt{\bar\alpha}\,z + \sqrt{1-\bar\alpha}\,\epsilon$."""
    return math.sqrt(level.alpha_bar) * z + math.sqrt(1 - level.alpha_bar) * noise


def predict_x0(
    x: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], level: Level
) -> Float[Tensor, "b c h w"]:
    r"""Undo it, DDPM eq. 15: $(x_t - \sqrt{1-\bar\alpha}\,\epsilon) / \sqrt{\bar\alpha}$."""
    return (x - math.sqrt(1 - level.alpha_bar) * eps) / math.sqrt(level.alpha_bar)
