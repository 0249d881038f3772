"""What is measured: a cell is one line of the table, a comparison of runs of the same work."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from networks import Shelf
from pairs import Run, timed
from rival_process import Child
from torch import Tensor

from labml_sd.config import ModelConfig, sd_v1

TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Largest relative error between two answers. Guidance multiplies rounding errors by ten."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how a run measures."""

    device: torch.device
    compiled: bool
    labml_python: Path | None
    engines_python: Path | None = None
    engines: tuple[str, ...] = ()
    files: Path
    plain: bool = False
    config: ModelConfig = field(default_factory=sd_v1)
    shelf: Shelf = field(default_factory=Shelf)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The runs of a cell, "ours" first.

    `flops` are those of one run, counted by the ledger and the same for all. If they are given,
    every round also times a matrix product in `dtype`. `pictures` is the number of images of
    one run.
    """

    runs: Mapping[str, Run]
    flops: float = 0.0
    dtype: torch.dtype = torch.float32
    pictures: int = 1
    warm_ups: int = 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of the table. `enter` prepares its comparison and frees what it needed."""

    name: str
    enter: Callable[[Setting], AbstractContextManager[Comparison]]
    quick: bool = True
    dtype: torch.dtype | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference over the norm of theirs; inf for other shapes or NaN."""
    a, b = ours.double().cpu(), theirs.double().cpu()
    if a.shape != b.shape or not a.isfinite().all():
        return float("inf")
    return float((a - b).norm() / b.norm())


def timed_if_agreed(
    calls: Mapping[str, Callable[[], Tensor]],
    dtype: torch.dtype,
    device: torch.device,
    elsewhere: Mapping[str, Child] = MappingProxyType({}),
) -> dict[str, Run]:
    """The calls and the children's as runs, if all of them give the same answer.

    RuntimeError if an answer differs: timing two different functions proves nothing.
    """
    answers = {name: call() for name, call in calls.items()}
    answers |= {name: child.answer() for name, child in elsewhere.items()}
    first = next(iter(answers.values()))
    for name, answer in answers.items():
        error = relative_error(first, answer)
        if not error <= TOLERANCE[dtype]:
            raise RuntimeError(
                f"{name} differs from ours: relative error {error:.2g} in {dtype}"
            )
    runs = {name: timed(call, device) for name, call in calls.items()}
    return runs | {name: child.run for name, child in elsewhere.items()}
