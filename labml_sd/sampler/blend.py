r"""The in-painting blend: after every step, put the kept area back at the level just reached.

Maps       z of the picture, noise [b c h w], mask [b 1 h w]
           ->  a function (x, level) -> x with the kept area put back
Paper      Lugmayr et al. 2022 (RePaint), arXiv:2201.09865, equation 8 (their mask is 1 - ours)
Tests      tests/sampler/test_blend.py
"""

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.protocol import Blend
from labml_sd.sampler.schedule import Level, add_noise


def inpaint_blend(
    z_kept: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    mask: Float[Tensor, "#b 1 h w"],
) -> Blend:
    r"""Make the function that puts the kept area back.

    $$ x \leftarrow m\, x
       + (1 - m) \left(\sqrt{\bar\alpha}\, z + \sqrt{1 - \bar\alpha}\, \epsilon\right) $$

    The mask is 1 where the picture is repainted and 0 where it is kept. The noise is the same
    at every level, and at CLEAN the kept area is z_kept exactly. The level is the one x has
    now, after the step: with any other the two areas have different amounts of noise.
    """

    def blend(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        return x * mask + add_noise(z_kept, noise, level) * (1 - mask)

    return blend
