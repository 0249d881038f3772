r"""Watching for NaN and infinity: a run that broke down says where, and a GPU is not kept waiting for it.

Maps       tensors of a run, each with the place it was made at  ->  nothing, or GenerationError
Tests      tests/sampler/test_finite.py
"""

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError


class FiniteWatch:
    """Look at every tensor of a run; complain about the first that is not finite.

    With `at_once` the answer is read at each look. Without it the answers stay on the device
    until `report`: reading one would make the CPU wait until the GPU has caught up, at every
    step.
    """

    def __init__(self, n_steps: int, at_once: bool) -> None:
        """`n_steps` is for the message only."""
        self.n_steps = n_steps
        self.at_once = at_once
        self.flags: list[Tensor] = []
        self.places: list[str] = []

    def look(self, values: Float[Tensor, "b c h w"], stage: str, index: int, t: float) -> None:
        """Remember whether all values are finite. `stage` says whose values they are: "the U-Net's eps"."""
        self.flags.append(torch.isfinite(values).all())
        self.places.append(
            f"{stage} holds NaN or Inf at step index {index} of {self.n_steps} steps, t = {t:g}"
        )
        if self.at_once:
            self.report()

    def report(self) -> None:
        """Read what was seen since the last report; GenerationError names the first place that broke."""
        flags, places = self.flags, self.places
        self.flags, self.places = [], []
        seen = torch.stack(flags).tolist() if flags else []
        for finite, place in zip(seen, places, strict=True):
            if not finite:
                raise GenerationError(
                    f"{place}; finite numbers were expected: use dtype float32 or bfloat16, "
                    "or a lower guidance_scale"
                )
