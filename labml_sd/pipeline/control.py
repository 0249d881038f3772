r"""What adapters offer a run: additions to the U-Net that come from a picture.

Maps       x [b c h w], t [1], cond [rows n d]  ->  UNetResiduals
Paper      Zhang et al. 2023 (ControlNet), arXiv:2302.05543; Mou et al. 2023 (T2I-Adapter),
           arXiv:2302.08453
Tests      tests/pipeline/test_control.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler import Moment
from labml_sd.unet.residuals import UNetResiduals, add_residual


@dataclass(frozen=True)
class Window:
    """A part of a latent: a range of its rows and a range of its columns, in cells."""

    rows: slice
    columns: slice

    def of(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """That part of x."""
        return x[..., self.rows, self.columns]


@runtime_checkable
class Control(Protocol):
    """Anything that conditions the U-Net by a picture, for one run."""

    def active(self, moment: Moment) -> bool:
        """Whether it has an effect at a moment: a control may start late and end early."""
        ...

    def tokens(self) -> Float[Tensor, "b n d"] | None:
        """Tokens appended to the prompt's, the same tensor at every call; None for none."""
        ...

    def residuals(
        self,
        x: Float[Tensor, "b c h w"],
        t: Float[Tensor, "1"],
        cond: Float[Tensor, "rows n d"],
    ) -> UNetResiduals:
        """What is added to feature maps of the U-Net, which gets the same x, t and cond."""
        ...

    def rows(self, some: slice) -> "Control":
        """The control for some images of the batch."""
        ...

    def crop(self, window: Window) -> "Control":
        """The control for a part of the latent."""
        ...


def sum_residuals(residuals: Sequence[UNetResiduals]) -> UNetResiduals:
    """The sum of what several controls add, one or more of them."""
    return reduce(_add, residuals)


def _add(a: UNetResiduals, b: UNetResiduals) -> UNetResiduals:
    shared = {
        i: add_residual(a.features[i], b.features[i]) for i in a.features if i in b.features
    }
    if a.skips and b.skips:
        skips = [add_residual(*pair) for pair in zip(a.skips, b.skips, strict=True)]
    else:
        skips = [*a.skips, *b.skips]
    middles = [middle for middle in (a.middle, b.middle) if middle is not None]
    middle = reduce(add_residual, middles) if middles else None
    return UNetResiduals(
        features={**a.features, **b.features, **shared}, skips=skips, middle=middle
    )
