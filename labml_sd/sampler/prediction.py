r"""What a network predicts, brought into one form: the noise and the clean latent, together.

Maps       x_t [b c h w], the network's output [b c h w], its level  ->  Prediction(eps, x0)
Paper      Ho et al. 2020, arXiv:2006.11239, equation 15 (eps); Salimans and Ho 2022,
           arXiv:2202.00512, section 4 (v)
Tests      tests/sampler/test_prediction.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.schedule import Level, predict_x0


@dataclass(frozen=True, eq=False)
class Prediction:
    r"""The noise `eps` in a latent and the clean latent `x0`.

    Either follows from the other, $x_t = \sqrt{\bar\alpha}\, x_0 + \sqrt{1 - \bar\alpha}\,
    \epsilon$, but not at every level: x0 does not follow from eps where $\bar\alpha = 0$.
    """

    eps: Float[Tensor, "b c h w"]
    x0: Float[Tensor, "b c h w"]


def from_eps(
    x: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], level: Level
) -> Prediction:
    """The network predicts the noise, as SD v1 and SD 2 base do: x0 by DDPM eq. 15."""
    return Prediction(eps, predict_x0(x, eps, level))


def from_v(
    x: Float[Tensor, "b c h w"], v: Float[Tensor, "b c h w"], level: Level
) -> Prediction:
    r"""The network predicts v, "velocity", as SD 2 at 768 pixels does.

    $$ v = \sqrt{\bar\alpha}\, \epsilon - \sqrt{1 - \bar\alpha}\, x_0, \quad
       \epsilon = \sqrt{\bar\alpha}\, v + \sqrt{1 - \bar\alpha}\, x_t, \quad
       x_0 = \sqrt{\bar\alpha}\, x_t - \sqrt{1 - \bar\alpha}\, v $$

    Nothing is divided, so this holds at pure noise too, $\bar\alpha = 0$: there v is -x0.
    """
    signal, spread = math.sqrt(level.alpha_bar), math.sqrt(1 - level.alpha_bar)
    return Prediction(eps=signal * v + spread * x, x0=signal * x - spread * v)
