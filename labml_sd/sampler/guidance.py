r"""Classifier-free guidance: from "any picture" to "this prompt's picture", and beyond.

Maps       two predictions, without and with the prompt, and a scale  ->  one [b c h w]
Paper      Ho and Salimans 2022, arXiv:2207.12598, equation 6 (our scale is their w + 1);
           Kynkäänniemi et al. 2024, arXiv:2404.07724 (interval); Lin et al. 2023,
           arXiv:2305.08891, section 3.4 (rescale)
Tests      tests/sampler/test_guidance.py
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.schedule import Level


def guide(
    eps_uncond: Float[Tensor, "b c h w"], eps_cond: Float[Tensor, "b c h w"], scale: float | int
) -> Float[Tensor, "b c h w"]:
    r"""$\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$: s = 0 ignores the prompt.

    1 is cond alone. The same for a network that predicts v: v is linear in eps.
    """
    return eps_uncond + scale * (eps_cond - eps_uncond)


def rescale_std(
    eps: Float[Tensor, "b c h w"], eps_cond: Float[Tensor, "b c h w"], share: float | int
) -> Float[Tensor, "b c h w"]:
    r"""Bring the std of a guided prediction back to that of cond alone, Lin eq. 14 to 16.

    $$ \epsilon \leftarrow
       \phi\, \frac{\mathrm{std}(\epsilon_c)}{\mathrm{std}(\epsilon)}\, \epsilon
       + (1 - \phi)\, \epsilon $$

    Each image has its own std. A large scale makes it too large, and pictures too bright. share
    is phi: 0 changes nothing, 1 corrects in full and makes pictures plain; the paper uses 0.7.
    """
    # [b 1 1 1] each: one std an image, over channels and positions
    std, std_cond = (e.std(dim=(1, 2, 3), keepdim=True) for e in (eps, eps_cond))
    return share * (std_cond / std) * eps + (1 - share) * eps


@dataclass(frozen=True)
class Guidance:
    r"""How strongly a prompt guides, and where.

    The scale is `scale` at levels with low <= sigma <= high, and 1 elsewhere. `sigma` is that
    of `Level`: 0.03 to 14.6 over SD's schedule. `rescale` is the share of `rescale_std`. The
    defaults guide at every level and rescale nothing. GenerationError when a number is out of
    range.
    """

    scale: float | int
    low: float | int = 0.0
    high: float | int = math.inf
    rescale: float | int = 0.0

    def __post_init__(self) -> None:
        """Refuse a scale that is not finite, an interval in reverse, a rescale outside 0..1."""
        if not math.isfinite(self.scale):
            raise GenerationError(
                f"guidance_scale is {self.scale}; give a finite number, 1 for none"
            )
        if not 0 <= self.low <= self.high:
            raise GenerationError(
                f"guidance_interval is {self.low} to {self.high}; "
                "give two noise levels sigma, the lower first, neither below 0"
            )
        if not 0 <= self.rescale <= 1:
            raise GenerationError(
                f"guidance_rescale is {self.rescale}; "
                "give a number from 0 (none) to 1 (in full)"
            )

    def scale_at(self, level: Level) -> float | int:
        """The scale at a level."""
        return self.scale if self.low <= level.sigma <= self.high else 1

    def combine(
        self,
        uncond: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b c h w"],
        level: Level,
    ) -> Float[Tensor, "b c h w"]:
        """One guided prediction at a level: `guide`, then `rescale_std` if requested."""
        guided = guide(uncond, cond, self.scale_at(level))
        return rescale_std(guided, cond, self.rescale) if self.rescale > 0 else guided
