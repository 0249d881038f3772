r"""Residuals: what other networks add to the feature maps of the U-Net.

Maps       x [b c h w], residual [b' c h w]  ->  [max(b, b') c h w]
Paper      Zhang et al. 2023 (ControlNet), arXiv:2302.05543, section 3.2 and figure 3; Mou et al. 2023
           (T2I-Adapter), arXiv:2302.08453, section 3.2
Tests      tests/unet/test_residuals.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from labml_sd.unet.rows import repeat_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class UNetResiduals:
    """Feature maps to add inside `UNet.forward`, each of the shape of the map it is added to.

    A residual may have as many rows as the latents, as the prompts, or one row for all.
    """

    features: Mapping[int, Tensor]
    """T2I-Adapter: added to the output of input block i, so that it reaches the next block and the skip."""

    skips: Sequence[Tensor]
    """ControlNet: added to the skip connections, one for each input block in their order, or none."""

    middle: Tensor | None
    """ControlNet: added to the output of the middle block."""


NO_RESIDUALS = UNetResiduals(features={}, skips=(), middle=None)


def add_residual(
    x: Float[Tensor, "b c h w"], residual: Float[Tensor, "b2 c h w"]
) -> Float[Tensor, "rows c h w"]:
    """The sum, with as many rows as the longer of the two."""
    rows = max(len(x), len(residual))
    return repeat_rows(x, rows) + repeat_rows(residual, rows)
