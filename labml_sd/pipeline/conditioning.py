r"""What the pictures of a run are conditioned on: prompts, extra channels, controls.

Maps       a moment  ->  tokens [rows n d], channels [b extra h w], the active controls
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3; Liu et al. 2022,
           arXiv:2206.01714, equation 11 (several prompts)
Tests      tests/pipeline/test_conditioning.py
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.pipeline.control import Control, Window
from labml_sd.sampler import Moment
from labml_sd.unet.rows import repeat_rows


def needs_uncond(weights: Float[Tensor, "k b"] | None) -> bool:
    """Whether the weights of an image's prompts do not add up to 1, so that uncond counts."""
    if weights is None:
        return False
    sums = weights.double().sum(dim=0)  # [b]
    return not torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-6)


@dataclass(frozen=True, eq=False)
class Conditioning:
    r"""Everything the U-Net is given beside x and t, one row an image.

    `cond` is the prompts' embedding. `uncond`, the negative prompts', has as many rows or one
    for all; without it there is no guidance. With `weights`, each image has k prompts that AND
    joins: first the first prompt of every image, then the second, and so on; see `combined`.
    `channels` are concatenated to x, for a U-Net with
    more input channels (in-painting has five more: the mask and the masked picture's latent).
    """

    cond: Float[Tensor, "kb n d"]
    uncond: Float[Tensor, "_ n d"] | None = None
    channels: Float[Tensor, "b extra h w"] | None = None
    controls: Sequence[Control] = ()
    weights: Float[Tensor, "k b"] | None = field(default=None, kw_only=True)
    tokens_kept: dict[Hashable, Tensor] = field(default_factory=dict, repr=False, kw_only=True)
    parts_kept: dict[Hashable, "Conditioning"] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Refuse an uncond of another shape."""
        cond, uncond = self.cond, self.uncond
        if self.weights is not None and self.weights.numel() != len(cond):
            raise GenerationError(
                f"{len(cond)} prompt embeddings with weights {list(self.weights.shape)}: "
                "give one weight for each"
            )
        if uncond is not None and (
            uncond.shape[0] not in (1, len(self)) or uncond.shape[1:] != cond.shape[1:]
        ):
            raise GenerationError(
                f"the negative prompt's embedding is {list(uncond.shape)}; "
                f"give the prompt's shape {list(cond.shape)}, or one row for all images"
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.cond) if self.weights is None else self.weights.shape[1]

    @property
    def needs_uncond(self) -> bool:
        """Whether the weights of an image's prompts do not add up to 1; see `combined`."""
        return needs_uncond(self.weights)

    def combined(
        self,
        conds: Float[Tensor, "kb c h w"],
        uncond: Float[Tensor, "b c h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        r"""One prediction for each image of those for its prompts, Liu et al. eq. 11.

        $$ \epsilon_c = \epsilon_u + \sum_i w_i\, (\epsilon_{c,i} - \epsilon_u) $$

        Where the weights add up to 1, $\epsilon_u$ has no effect and may be left out.
        """
        if self.weights is None:
            return conds
        each = conds.reshape(*self.weights.shape, *conds.shape[1:])  # [k b c h w]
        w = self.weights.to(each)[..., None, None, None]  # [k b 1 1 1]
        if uncond is None:
            return (w * each).sum(dim=0)
        return uncond + (w * (each - uncond)).sum(dim=0)

    def at(self, moment: Moment) -> "Conditioning":
        """What holds at a moment of the run: the same at every moment."""
        return self

    def active_controls(self, moment: Moment) -> list[Control]:
        """The controls that have an effect at a moment."""
        return [control for control in self.controls if control.active(moment)]

    def tokens(self, moment: Moment, guided: bool) -> Float[Tensor, "rows n2 d"]:
        """What the U-Net attends to: cond alone, or for guidance uncond's rows, then cond's.

        Tokens of controls are appended. The same tensor object is returned at every step: the
        U-Net may keep the keys and values of its cross-attention by it.
        """
        appended = [control.tokens() for control in self.active_controls(moment)]
        k = len(self.cond) // len(self)
        extra = [
            repeat_rows(tokens, k * len(tokens)) for tokens in appended if tokens is not None
        ]
        if not (guided or extra):
            return self.cond
        key = (guided, *extra)
        if key not in self.tokens_kept:
            self.tokens_kept[key] = self._joined(extra, guided)
        return self.tokens_kept[key]

    def _joined(self, extra: list[Tensor], guided: bool) -> Float[Tensor, "rows n2 d"]:
        cond = torch.cat([self.cond, *extra], dim=1)  # [kb n2 d]
        if not guided:
            return cond
        assert self.uncond is not None, "guidance needs uncond"
        uncond = self.uncond.expand(len(self), -1, -1)
        n_extra = cond.shape[1] - uncond.shape[1]
        if n_extra:  # as in T2I-Adapter's samplers, the last tokens again: equal lengths
            uncond = torch.cat([uncond, uncond[:, -n_extra:]], dim=1)
        return torch.cat([uncond, cond])  # [b+kb n2 d]

    def rows(self, some: slice) -> "Conditioning":
        """That of some images of the batch; one object for each slice."""
        if (some.start, some.stop) == (0, len(self)):
            return self
        key = (some.start, some.stop)
        if key not in self.parts_kept:
            cond = self.cond.reshape(-1, len(self), *self.cond.shape[1:])[:, some].flatten(0, 1)
            uncond = self.uncond
            self.parts_kept[key] = replace(
                self,
                cond=cond,
                uncond=None if uncond is None else uncond.expand(len(self), -1, -1)[some],
                weights=None if self.weights is None else self.weights[:, some],
                channels=None if self.channels is None else self.channels[some],
                controls=[control.rows(some) for control in self.controls],
                tokens_kept={},
            )
        return self.parts_kept[key]

    def crop(self, window: Window) -> "Conditioning":
        """That of a part of the latent, with the same tokens; one object for each window."""
        key = (window.rows.start, window.rows.stop, window.columns.start, window.columns.stop)
        if key not in self.parts_kept:
            self.parts_kept[key] = replace(
                self,
                channels=None if self.channels is None else window.of(self.channels),
                controls=[control.crop(window) for control in self.controls],
            )
        return self.parts_kept[key]


@dataclass(frozen=True, eq=False)
class ScheduledConditioning:
    """Prompts that change during a run: what holds at each step, one or two entries a step.

    With two entries a step, the second holds at the second evaluation of the network. Equal
    steps share one object, so that the U-Net can keep the keys of its tokens.
    """

    by_step: Sequence[Conditioning]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.by_step[0])

    @property
    def uncond(self) -> Float[Tensor, "_ n d"] | None:
        """The negative prompts' embedding at the first step."""
        return self.by_step[0].uncond

    @property
    def needs_uncond(self) -> bool:
        """As `Conditioning.needs_uncond`: the weights are those of all steps."""
        return self.by_step[0].needs_uncond

    def at(self, moment: Moment) -> Conditioning:
        """What holds at a moment of the run."""
        per_step = max(1, len(self.by_step) // moment.n_steps)
        index = moment.step * per_step + min(moment.evaluation, per_step - 1)
        return self.by_step[min(index, len(self.by_step) - 1)]
