r"""Read a .safetensors file: eight bytes of length, a JSON header, then the numbers. Nothing in it can run.

Room       checkpoint, called by open_file.py
Maps       path -> Weights
Reference  the safetensors library, which checks that tensors neither overlap nor leave holes
See        tests/checkpoint/test_read_safetensors.py
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from labml_sd.checkpoint.weights import TensorInfo, Weights
from labml_sd.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000  # the library's own limit
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> Weights:
    """Open a safetensors file and list its tensors; their numbers are mapped, not read.

    Raises CheckpointError when the file is cut short, or its header is no safetensors header.
    """
    _refuse_cut_file(path)
    try:
        file: Any = safe_open(path, framework="pt")
        tensors = {name: _info(file.get_slice(name)) for name in list(file.keys())}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a sound safetensors file ({error}); get the file again"
        ) from error

    def read(name: str) -> Tensor:
        tensor: Tensor = file.get_tensor(name)
        return tensor

    return Weights(path=path, tensors=tensors, read=read, metadata=file.metadata() or {})


def _info(part: Any) -> TensorInfo:
    dtype = part.get_dtype()
    return TensorInfo(tuple(part.get_shape()), DTYPES.get(dtype, dtype.lower()))


def _refuse_cut_file(path: Path) -> None:
    """The library calls a cut download "incomplete metadata"; count bytes first and say what happened."""
    size = path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path}: not a safetensors file (its header would be {n_header:,} bytes long)"
            )
        header = file.read(n_header)
    if len(header) < n_header:
        raise CheckpointError(f"{path}: ends inside its header, after {size:,} bytes; get the file again")
    try:
        entries = json.loads(header)
        end = max(
            (entry["data_offsets"][1] for k, entry in entries.items() if k != "__metadata__"), default=0
        )
        wanted = 8 + n_header + int(end)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header is damaged; get the file again") from error
    if size < wanted:
        raise CheckpointError(
            f"{path}: cut short, {size:,} of {wanted:,} bytes are there; get the file again"
        )
