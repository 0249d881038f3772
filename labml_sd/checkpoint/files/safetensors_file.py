r"""Read a .safetensors file: eight bytes of length, a JSON header, then the numbers.

The safetensors library maps the file and checks the header: tensors neither overlap nor leave
holes, and have the size of their shape. Checked here before it: what it would take long over,
what it calls by an unhelpful name, and a name that occurs twice, which it lets pass.

Maps       path -> Weights
Reference  the safetensors library's `safe_open`
Tests      tests/checkpoint/files/test_safetensors_file.py
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from labml_sd.checkpoint.files.weights import MAX_DIMS, TensorInfo, Weights, aligned
from labml_sd.checkpoint.printable import is_plain_name, shown
from labml_sd.errors import CheckpointError

# The library accepts 100,000,000 bytes, which can name 1.6 million tensors and cost it 1.3 GB
# and 10 seconds. An SD v1 file has 0.15 MB and 1,131 tensors; metadata of training programs may
# add some megabytes.
MAX_HEADER_BYTES = 2**24
MAX_TENSORS = 100_000
MAX_BRACKETS = 3 * MAX_TENSORS + 2  # a tensor has a brace and two brackets in the header
DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def read_safetensors(path: Path) -> Weights:
    """Open a safetensors file and list its tensors; their numbers are mapped, not read.

    Raises CheckpointError when the file is cut short, or its header is no safetensors header.
    """
    _check_header(path)
    try:
        file: Any = safe_open(path, framework="pt")
        tensors = {name: _info(file.get_slice(name)) for name in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a valid safetensors file ({shown(error)}); get the file again"
        ) from error
    for name in tensors:
        if not is_plain_name(name):
            raise CheckpointError(
                f"{path}: a tensor whose name cannot be shown, {shown(name)}; get another file"
            )

    def read(name: str) -> Tensor:
        dtype = tensors[name].dtype
        if dtype not in DTYPES.values():
            raise CheckpointError(
                f"{path}: {name} contains {dtype} numbers; get the model in float16 or float32"
            )
        return aligned(file.get_tensor(name))

    return Weights(path=path, tensors=tensors, read=read, metadata=file.metadata() or {})


def _info(part: Any) -> TensorInfo:
    dtype = part.get_dtype()
    return TensorInfo(tuple(part.get_shape()), DTYPES.get(dtype, dtype.lower()))


def _check_header(path: Path) -> None:
    """Raise CheckpointError for a header that is too long or damaged, and for a cut file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path}: no safetensors file that is read here (its header would have "
                f"{n_header:,} bytes; the limit is {MAX_HEADER_BYTES:,}); get another file"
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
        entries = json.loads(header, object_pairs_hook=_without_twins)
        entries.pop("__metadata__", None)
        if any(len(entry["shape"]) > MAX_DIMS for entry in entries.values()):
            raise ValueError(f"a tensor of more than {MAX_DIMS} dimensions")
        wanted = 8 + n_header + max((e["data_offsets"][1] for e in entries.values()), default=0)
        if not 0 <= wanted < 2**63:
            raise ValueError("an offset is no size of a file")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its safetensors header is damaged ({shown(error)}); get the file again"
        ) from error
    if size < wanted:
        raise CheckpointError(
            f"{path}: cut short, {size:,} of {wanted:,} bytes are there; get the file again"
        )


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Where a name occurs twice, readers differ in which they use."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name is there twice")
    return entries
