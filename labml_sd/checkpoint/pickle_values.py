r"""What the restricted pickle reader can build: plain data, and these three.

Room       checkpoint, called by read_pickle.py and read_torch.py
Maps       nothing; small frozen dataclasses
See        tests/checkpoint/test_read_pickle.py
"""

from dataclasses import dataclass

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
    """The pickle is damaged, or asks for what no checkpoint needs. Says why in a few words."""


@dataclass(frozen=True)
class Inert:
    """Stands in for an object that was not built, or for a name that was not looked up."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, by the key under which the file holds it."""

    key: str
    dtype: str
    n: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the pickle describes it: a window on a storage. Not yet checked against the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
