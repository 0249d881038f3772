r"""Named tensors in a file: what they are is known at once, their numbers are read one by one.

Maps       a file -> Weights: name -> (shape, dtype), and a function that reads one tensor
Tests      tests/checkpoint/files/test_weights.py
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from labml_sd.errors import CheckpointError

MAX_DIMS = 64  # beyond it most of torch's functions fail


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before its numbers are read."""

    shape: tuple[int, ...]
    dtype: str  # torch's name: "float16"

    @property
    def n_parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of one file, or of several shards, opened and not yet read.

    `refused` names all that a pickle contains and that was not built. `entries` are the names
    in a pickle's outermost dictionary that belong to no tensor: they help to say what kind of
    file it is.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    entries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Stored:
    """One tensor of a weights file, under the name that it has there.

    `part` (i, n): only the i-th of its n equal parts along the first axis.
    """

    weights: Weights
    name: str
    part: tuple[int, int] | None = None

    @property
    def info(self) -> TensorInfo:
        """Shape and dtype."""
        whole = self.weights.tensors[self.name]
        if self.part is None or not whole.shape:
            return whole
        first, *others = whole.shape
        return TensorInfo((first // self.part[1], *others), whole.dtype)

    def read(self) -> Tensor:
        """Its numbers: mostly a view of the mapped file, so do not write into it."""
        whole = self.weights.read(self.name)
        return whole if self.part is None else whole.chunk(self.part[1])[self.part[0]]


def aligned(tensor: Tensor) -> Tensor:
    """The tensor, copied if its numbers do not lie on multiples of their size in the file."""
    return tensor.clone() if tensor.data_ptr() % tensor.element_size() else tensor


def join_shards(path: Path, shards: Sequence[Weights]) -> Weights:
    """See several files as one. A name that occurs in two of them raises CheckpointError."""
    home: dict[str, Weights] = {}
    for shard in shards:
        twice = home.keys() & shard.tensors.keys()
        if twice:
            raise CheckpointError(
                f"{path}: two shards both contain {min(twice)}; get the folder again"
            )
        home |= dict.fromkeys(shard.tensors, shard)
    return Weights(
        path=path,
        tensors={name: shard.tensors[name] for name, shard in home.items()},
        read=lambda name: home[name].read(name),
        refused=tuple(sorted({name for shard in shards for name in shard.refused})),
    )
