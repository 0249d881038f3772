r"""Residuals: feature maps from other networks, added inside the U-Net.

Maps       x [b c h w], residual [b2 c h w]  ->  [max(b, b2) c h w]
Paper      ControlNet: Zhang et al. 2023, arXiv:2302.05543, section 3.2
           T2I-Adapter: Mou et al. 2023, arXiv:2302.08453, section 3.2
Tests      tests/unet/test_residuals.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.unet.rows import repeat_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class UNetResiduals:
    """What `UNet.forward` adds to its feature maps; each has the shape of what it is added to.

    The batch size of a residual may be that of the latents or that of the prompts.

    `features[i]` (T2I-Adapter) is added to the output of input block i, so it reaches both the
    next block and the skip connection. `skips` (ControlNet) has one map for each skip
    connection, in the order of the input blocks, or is empty. `middle` (ControlNet) is added to
    the output of the middle block.
    """

    features: Mapping[int, Tensor]
    skips: Sequence[Tensor]
    middle: Tensor | None


NO_RESIDUALS = UNetResiduals(features={}, skips=(), middle=None)


def add_residual(
    x: Float[Tensor, "b c h w"], residual: Float[Tensor, "b2 c h w"]
) -> Float[Tensor, "rows c h w"]:
    """The sum; the smaller batch is repeated to the size of the larger one."""
    rows = max(len(x), len(residual))
    return repeat_rows(x, rows) + repeat_rows(residual, rows)
