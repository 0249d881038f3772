r"""Detecting NaN and infinity: the error names stage and step, and a GPU is not made to wait.

Maps       tensors of a run, each with the place it was made at  ->  nothing, or GenerationError
Tests      tests/sampler/test_finite.py
"""

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError


class FiniteWatch:
    """Check every tensor of a run and report the first that is not finite.

    With `at_once` the result is read at each check. Without it the results stay on the device
    until `report`: reading one would make the CPU wait for the GPU at every step.
    """

    def __init__(self, n_steps: int, at_once: bool) -> None:
        """`n_steps` is for the message only."""
        self.n_steps = n_steps
        self.at_once = at_once
        self.seen: list[tuple[Tensor, str]] = []  # [], a bool still on the device; the place

    def look(self, values: Float[Tensor, "b c h w"], stage: str, index: int, t: float) -> None:
        """Check that all values are finite. `stage` names them: "the U-Net's eps"."""
        at = f"step index {index} of {self.n_steps} steps, t = {t:g}"
        self.seen.append((torch.isfinite(values).all(), f"{stage} holds NaN or Inf at {at}"))
        if self.at_once:
            self.report()

    def report(self) -> None:
        """Read the results since the last report; GenerationError names the first bad place."""
        seen, self.seen = self.seen, []
        flags = torch.stack([flag for flag, _ in seen]).tolist() if seen else []  # one transfer
        for finite, (_, place) in zip(flags, seen, strict=True):
            if not finite:
                raise GenerationError(
                    f"{place}; finite numbers were expected: use dtype float32 or bfloat16, "
                    "or a lower guidance_scale"
                )
