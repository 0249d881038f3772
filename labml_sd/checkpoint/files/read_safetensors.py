r"""Read a .safetensors file: eight bytes of length, a JSON header, then the numbers. Nothing in it can run.

Maps       path -> Weights
Reference  the safetensors library, which checks that tensors neither overlap nor leave holes
Tests      tests/checkpoint/files/test_read_safetensors.py
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from labml_sd.checkpoint.files.mapped import map_file, tensor_at
from labml_sd.checkpoint.files.pickle_values import MAX_DIMS
from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.printable import is_plain_name, shown
from labml_sd.errors import CheckpointError

# The library takes 100,000,000 bytes, which can name 1.6 million tensors and cost it 1.3 GB and
# 10 seconds. An SD v1 file has 0.15 MB and 1,131 tensors; metadata of training scripts may add
# some megabytes.
MAX_HEADER_BYTES = 2**24
MAX_TENSORS = 100_000
MAX_BRACKETS = 3 * MAX_TENSORS + 2  # a tensor has a brace and two brackets in the header
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
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
    starts = _starts(path)
    try:
        file: Any = safe_open(path, framework="pt")
        tensors = {name: _info(file.get_slice(name)) for name in list(file.keys())}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a sound safetensors file ({shown(error)}); get the file again"
        ) from error
    for name in tensors:
        if not is_plain_name(name):
            raise CheckpointError(
                f"{path}: a tensor whose name cannot be shown, {shown(name)}; get another file"
            )

    def read(name: str) -> Tensor:
        if tensors[name].dtype not in DTYPES.values():
            raise CheckpointError(
                f"{path}: {name} holds {tensors[name].dtype} numbers; get the model in float16 or float32"
            )
        info, dtype = tensors[name], getattr(torch, tensors[name].dtype)
        return tensor_at(data, starts[name], info.n_parameters, dtype).reshape(info.shape)

    data = map_file(path)
    return Weights(path=path, tensors=tensors, read=read, metadata=file.metadata() or {})


def _info(part: Any) -> TensorInfo:
    dtype = part.get_dtype()
    return TensorInfo(tuple(part.get_shape()), DTYPES.get(dtype, dtype.lower()))


def _starts(path: Path) -> dict[str, int]:
    """First byte of each tensor in the file.

    Refuse what the library would let pass (a name that is there twice), or would take long
    over. It calls a cut download "incomplete metadata"; count bytes first and say what
    happened.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path}: not a safetensors file that is read here (its header would be {n_header:,} bytes "
                f"long, at most {MAX_HEADER_BYTES:,} are read); get another file"
            )
        header = file.read(n_header)
    if len(header) < n_header:
        raise CheckpointError(
            f"{path}: ends inside its header, after {size:,} bytes; get the file again"
        )
    if header.count(b"{") + header.count(b"[") > MAX_BRACKETS:
        raise CheckpointError(
            f"{path}: over {MAX_TENSORS:,} tensors in its header; get another file"
        )
    try:
        entries = json.loads(header, object_pairs_hook=_no_twins)
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        if any(len(entry["shape"]) > MAX_DIMS for entry in tensors.values()):
            raise ValueError(f"a tensor of more than {MAX_DIMS} dimensions")
        wanted = (
            8 + n_header + _largest([entry["data_offsets"][1] for entry in tensors.values()])
        )
        starts = {
            name: 8 + n_header + entry["data_offsets"][0] for name, entry in tensors.items()
        }
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{path}: its safetensors header is damaged ({shown(error)}); get the file again"
        ) from error
    if size < wanted:
        raise CheckpointError(
            f"{path}: cut short, {size:,} of {wanted:,} bytes are there; get the file again"
        )
    return starts


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Where a name stands twice, readers differ in which they take."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name is there twice")
    return entries


def _largest(ends: list[Any]) -> int:
    if not all(type(end) is int and 0 <= end < 2**63 for end in ends):
        raise ValueError("an offset is no whole number")
    return max(ends, default=0)
