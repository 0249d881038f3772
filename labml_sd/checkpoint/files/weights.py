r"""Named tensors in a file: what they are is known at once, their numbers are read one tensor at a time.

Maps       a file -> Weights: name -> (shape, dtype), and a function that reads one tensor
Tests      tests/checkpoint/files/test_weights.py
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from labml_sd.errors import CheckpointError


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before its numbers are read."""

    shape: tuple[int, ...]
    dtype: str  # torch's name: "float16"

    @property
    def n_parameters(self) -> int:
        """Number of elements."""
        n = 1
        for size in self.shape:
            n *= size
        return n


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of one file, or of several shards, opened and not yet read.

    `refused` are the names of everything in a pickle that was not built. `entries` are the
    names in a pickle's outermost dictionary that hold no tensor: they help to say what kind of
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
    """One tensor of a weights file, under the name that it has there."""

    weights: Weights
    name: str

    @property
    def info(self) -> TensorInfo:
        """Shape and dtype."""
        return self.weights.tensors[self.name]

    def read(self) -> Tensor:
        """Read its numbers; memory of its own, or a view of the mapped file that must not be written to."""
        return self.weights.read(self.name)


def join_shards(path: Path, shards: Sequence[Weights]) -> Weights:
    """See several files as one. A name that occurs in two of them raises CheckpointError."""
    home: dict[str, Weights] = {}
    for shard in shards:
        twice = home.keys() & shard.tensors.keys()
        if twice:
            raise CheckpointError(
                f"{path}: two shards both hold {min(twice)}; get the folder again"
            )
        home |= dict.fromkeys(shard.tensors, shard)
    return Weights(
        path=path,
        tensors={name: shard.tensors[name] for name, shard in home.items()},
        read=lambda name: home[name].read(name),
        refused=tuple(sorted({name for shard in shards for name in shard.refused})),
    )
