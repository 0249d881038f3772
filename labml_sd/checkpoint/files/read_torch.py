r"""Read a .ckpt file, torch's zip or the stream before torch 1.6, and execute nothing in it.

Maps       path -> Weights; the file is opened once and mapped, and a tensor is a view of it
Reference  torch.save; the zip holds <name>/data.pkl and one member <name>/data/<key> a storage
Tests      tests/checkpoint/files/test_read_torch.py
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labml_sd.checkpoint.files.mapped import map_file, tensor_at
from labml_sd.checkpoint.files.pickle_values import (
    DamagedError,
    Inert,
    Name,
    PickleError,
    StoredTensor,
)
from labml_sd.checkpoint.files.read_pickle import PickleReader
from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.files.zip_members import Span, zip_members
from labml_sd.checkpoint.printable import is_plain_name, shown
from labml_sd.errors import CheckpointError

MAGIC_OF_STREAM = 0x1950A86A20F9469CFC6C  # first thing in the format before torch 1.6
VERSION_OF_STREAM = 1001
VERSIONS_OF_ZIP = range(1, 11)  # those that torch 2 takes
MAX_ENTRIES = (
    200_000  # in the dictionaries of the file; a training checkpoint of SD v1 has some 3,000
)
ITEM_SIZES = {
    "float64": 8,
    "int64": 8,
    "float32": 4,
    "int32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
}


def read_torch(path: Path) -> Weights:
    """Open a checkpoint that torch.save wrote and list its tensors.

    Objects that are no tensors (training callbacks, numpy numbers) are not built; `refused`
    names them. Raises CheckpointError when the file is damaged, is no checkpoint, or names what
    no checkpoint needs.
    """
    reader = PickleReader()
    try:
        data = map_file(path)
        content, spans = (_open_zip if data[:2] == b"PK" else _open_stream)(data, reader)
        tensors, entries = _tensors_in(content)
        for name, tensor in tensors.items():
            _check_bounds(name, tensor, spans)
    except PickleError as error:
        raise CheckpointError(
            f"{path}: not read, for it holds a thing no checkpoint needs: {error}; nothing in it was run; "
            "get the model as .safetensors, or from somebody else"
        ) from error
    except DamagedError as error:
        raise CheckpointError(
            f"{path}: cut short or damaged ({error}); get the file again"
        ) from error

    def read(name: str) -> Tensor:
        return _read(tensors[name], spans, data)

    return Weights(
        path=path,
        tensors={name: TensorInfo(t.shape, t.storage.dtype) for name, t in tensors.items()},
        read=read,
        refused=tuple(sorted(reader.refused)),
        entries=frozenset(entries),
    )


def _open_zip(data: mmap.mmap, reader: PickleReader) -> tuple[Any, dict[str, Span]]:
    """Read the pickle of a zip, and find where each storage lies in the file."""
    members = zip_members(data)
    if "data.pkl" not in members:
        raise PickleError("a zip, but not one that torch.save wrote (it has no data.pkl)")
    if "constants.pkl" in members:
        raise PickleError("a TorchScript program; expected weights")
    others = [name for name in members if name.endswith(".pkl") and name != "data.pkl"]
    if others:
        raise PickleError(f"a second pickle, {others[0]}")
    if "byteorder" in members and data[slice(*members["byteorder"])] != b"little":
        raise PickleError("numbers in big-endian order")
    if (
        _number(members.get("version", members.get(".data/version")), data)
        not in VERSIONS_OF_ZIP
    ):
        raise DamagedError("its version number is missing or unknown")
    for name in (".format_version", ".storage_alignment"):
        if name in members and _number(members[name], data) < 1:
            raise DamagedError(f"its {name} is no number")
    if not data[slice(*members.get(".data/serialization_id", (0, 0)))][:1000].isascii():
        raise DamagedError("its serialization_id is no text")
    spans = {
        name.removeprefix("data/"): s for name, s in members.items() if name.startswith("data/")
    }
    start, end = members["data.pkl"]
    content = reader.load(data, start, end)
    if reader.at != end:
        raise PickleError("something behind the end of the pickle")
    return content, spans


def _number(span: Span | None, data: mmap.mmap) -> int:
    """The number that a small member holds as text; -1 when it is none."""
    start, end = span or (0, 0)
    text = data[start : min(end, start + 8)].strip()
    return int(text) if text.isdigit() else -1


def _open_stream(data: mmap.mmap, reader: PickleReader) -> tuple[Any, dict[str, Span]]:
    """Read the older format: five pickles in a row, then a count and the raw numbers of each storage."""
    if reader.load(data) != MAGIC_OF_STREAM:
        raise PickleError("a pickle, but not one that torch.save wrote")
    if reader.load(data, reader.at) != VERSION_OF_STREAM:
        raise PickleError("a version of the format that no torch has written")
    machine = reader.load(data, reader.at)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise PickleError("numbers in big-endian order")
    content = reader.load(data, reader.at)
    keys = reader.load(data, reader.at)
    if not isinstance(keys, list) or not all(
        isinstance(key, str) and key in reader.storages for key in keys
    ):
        raise PickleError("a list of storages that does not fit the tensors")
    return content, _spans_of_stream(data, reader, keys)


def _spans_of_stream(data: mmap.mmap, reader: PickleReader, keys: list[str]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    at = reader.at
    for key in keys:
        if at + 8 > len(data):
            raise DamagedError("the file ends before its numbers do")
        (n,) = struct.unpack("<q", data[at : at + 8])
        start, at = at + 8, at + 8 + n * ITEM_SIZES.get(reader.storages[key].dtype, 1)
        if n < 0 or at > len(data):
            raise DamagedError("the file ends before its numbers do")
        if key in spans:
            raise PickleError("a storage that is there twice")
        spans[key] = (start, at)
    if at != len(data):
        raise PickleError("something behind the last numbers")
    return spans


def _tensors_in(content: Any) -> tuple[dict[str, StoredTensor], set[str]]:
    """Unwrap `state_dict`, then list tensors by name; a dictionary inside gives names with a dot."""
    for _ in range(4):
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if not isinstance(content, dict):
        kind = content.name if isinstance(content, Name | Inert) else type(content).__name__
        raise PickleError(
            f"something of type {shown(kind)} where a dictionary of tensors was expected"
        )
    n_entries = len(content)
    tensors: dict[str, StoredTensor] = {}
    for name, value in content.items():
        inside = value if isinstance(value, dict) else {}
        n_entries += len(inside)
        if n_entries > MAX_ENTRIES:
            raise PickleError(f"dictionaries of more than {MAX_ENTRIES:,} entries")
        found = [(str(name), value), *((f"{name}.{k}", v) for k, v in inside.items())]
        for full_name, tensor in found:
            if isinstance(tensor, StoredTensor):
                _add(tensors, full_name, tensor)
    return tensors, {
        str(name) for name, value in content.items() if not isinstance(value, StoredTensor)
    }


def _add(tensors: dict[str, StoredTensor], name: str, tensor: StoredTensor) -> None:
    if name in tensors:
        raise PickleError(f"two tensors of one name, {name}")
    if not is_plain_name(name):
        raise PickleError(f"a tensor whose name cannot be shown, {shown(name)}")
    tensors[name] = tensor


def _last_item(tensor: StoredTensor) -> int:
    return tensor.offset + sum(
        (n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True)
    )


def _check_bounds(name: str, tensor: StoredTensor, spans: dict[str, Span]) -> None:
    """A window may not reach past its storage, nor be larger than it (a stride of 0 would blow it up)."""
    if tensor.storage.key not in spans:
        raise DamagedError(f"the numbers of {name} are missing")
    start, end = spans[tensor.storage.key]
    n_stored = (end - start) // ITEM_SIZES.get(tensor.storage.dtype, 1)
    n_items = TensorInfo(tensor.shape, tensor.storage.dtype).n_parameters
    if tensor.storage.n != n_stored:
        raise DamagedError(f"{name} has {n_stored} of {tensor.storage.n} numbers")
    if n_items and (_last_item(tensor) >= n_stored or n_items > n_stored):
        raise PickleError(f"{name} reaches past the end of its numbers")


def _read(tensor: StoredTensor, spans: dict[str, Span], data: mmap.mmap) -> Tensor:
    """Look at the bytes between the tensor's first and last number through its strides."""
    dtype: torch.dtype = getattr(torch, tensor.storage.dtype)
    if 0 in tensor.shape:
        return torch.empty(tensor.shape, dtype=dtype)
    start = spans[tensor.storage.key][0] + tensor.offset * dtype.itemsize
    numbers = tensor_at(data, start, _last_item(tensor) + 1 - tensor.offset, dtype)
    return numbers.as_strided(tensor.shape, tensor.stride)
