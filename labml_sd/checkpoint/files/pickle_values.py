r"""What the restricted pickle reader can build: plain data, and these four.

Maps       nothing; small frozen dataclasses, and what a pickle says of a tensor -> StoredTensor
Tests      tests/checkpoint/files/test_read_pickle.py
"""

from dataclasses import dataclass
from typing import Any

MAX_DIMS = 64  # torch's own

STORAGE_DTYPES = {
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.DoubleStorage": "float64",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}


class PickleError(ValueError):
    """The file holds what no checkpoint needs. Says in a few words what it is."""


class DamagedError(ValueError):
    """The file is cut short, or its parts do not fit one another. Says where in a few words."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the pickle named. It was not looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class Inert:
    """Stands in for an object that was not built, by the name of what would have made it."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file, by the key under which the file holds it."""

    key: str
    dtype: str
    n: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as the pickle describes it: a window on a storage. Not yet checked against the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    """What torch wrote of a tensor before 0.4. Raises PickleError when it cannot be one."""
    if not isinstance(storage, Storage):
        raise PickleError("a tensor without a storage")
    if not (
        isinstance(shape, tuple)
        and isinstance(stride, tuple)
        and len(shape) == len(stride) <= MAX_DIMS
    ):
        raise PickleError("a tensor whose shape and strides are no match")
    if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *stride)):
        raise PickleError("a tensor whose shape is no row of whole numbers")
    return StoredTensor(storage, offset, shape, stride)


def tensor_v2(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> StoredTensor:
    """What torch writes of a tensor since. The last three are looked at and dropped."""
    found = tensor(storage, offset, shape, stride)
    if not isinstance(requires_grad, bool) or (
        requires_grad and "float" not in found.storage.dtype
    ):
        raise PickleError(f"gradients of {found.storage.dtype} numbers")
    if not isinstance(hooks, dict | None) or not isinstance(metadata, dict | None):
        raise PickleError("a tensor with something else in the place of its hooks")
    return found
