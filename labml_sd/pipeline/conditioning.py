r"""What the pictures of a run are conditioned on: prompts, extra channels, controls.

Maps       a moment  ->  tokens [rows n d], channels [b extra h w], the active controls
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3
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


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Everything the U-Net is given beside x and t, one row an image.

    `cond` is the prompts' embedding. `uncond`, the negative prompts', has as many rows or one
    for all; without it there is no guidance. `channels` are concatenated to x, for a U-Net with
    more input channels (in-painting has five more: the mask and the masked picture's latent).
    """

    cond: Float[Tensor, "b n d"]
    uncond: Float[Tensor, "_ n d"] | None = None
    channels: Float[Tensor, "b extra h w"] | None = None
    controls: Sequence[Control] = ()
    tokens_kept: dict[Hashable, Tensor] = field(default_factory=dict, repr=False, kw_only=True)
    parts_kept: dict[Hashable, "Conditioning"] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Refuse an uncond of another shape."""
        cond, uncond = self.cond, self.uncond
        if uncond is not None and (
            uncond.shape[0] not in (1, cond.shape[0]) or uncond.shape[1:] != cond.shape[1:]
        ):
            raise GenerationError(
                f"the negative prompt's embedding is {list(uncond.shape)}; "
                f"give the prompt's shape {list(cond.shape)}, or one row for all images"
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.cond)

    def at(self, moment: Moment) -> "Conditioning":
        """What holds at a moment of the run: the same at every moment.

        A subclass whose prompts change by step returns another one, the same object each time.
        """
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
        extra = [tokens for tokens in appended if tokens is not None]
        if not (guided or extra):
            return self.cond
        key = (guided, *extra)
        if key not in self.tokens_kept:
            self.tokens_kept[key] = self._joined(extra, guided)
        return self.tokens_kept[key]

    def _joined(self, extra: list[Tensor], guided: bool) -> Float[Tensor, "rows n2 d"]:
        cond = torch.cat([self.cond, *extra], dim=1)  # [b n2 d]
        if not guided:
            return cond
        assert self.uncond is not None, "guidance needs uncond"
        uncond = self.uncond.expand_as(self.cond)
        n_extra = cond.shape[1] - uncond.shape[1]
        if n_extra:  # as in T2I-Adapter's samplers, the last tokens again: equal lengths
            uncond = torch.cat([uncond, uncond[:, -n_extra:]], dim=1)
        return torch.cat([uncond, cond])  # [2b n2 d]

    def rows(self, some: slice) -> "Conditioning":
        """That of some images of the batch; one object for each slice."""
        if (some.start, some.stop) == (0, len(self)):
            return self
        key = (some.start, some.stop)
        if key not in self.parts_kept:
            uncond = None if self.uncond is None else self.uncond.expand_as(self.cond)[some]
            self.parts_kept[key] = replace(
                self,
                cond=self.cond[some],
                uncond=uncond,
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
