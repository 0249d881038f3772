r"""Tensors that lie where they are in their file: the system reads a page when it is first used.

The mapping is private: what is written to such a tensor goes to memory of its own, never to the
file. The file may be deleted or replaced while it is mapped; only writing into it, or cutting
it short, is seen here.

Maps       a file -> its bytes; bytes -> a tensor without a copy
Tests      tests/checkpoint/files/test_mapped.py
"""

import mmap
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file. Raises OSError, or ValueError for an empty one."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def tensor_at(
    data: mmap.mmap, start: int, n: int, dtype: torch.dtype
) -> Shaped[Tensor, " {n}"]:
    """`n` numbers from byte `start`; copied only where they do not lie on a multiple of their size."""
    if n == 0:
        return torch.empty(0, dtype=dtype)
    n_bytes = n * dtype.itemsize
    if start % dtype.itemsize:
        return torch.frombuffer(
            bytearray(data[start : start + n_bytes]), dtype=torch.uint8
        ).view(dtype)
    return torch.frombuffer(data, dtype=torch.uint8, count=n_bytes, offset=start).view(dtype)
