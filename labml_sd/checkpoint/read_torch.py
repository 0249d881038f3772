r"""Read a .ckpt file, torch's zip or the stream before torch 1.6, and execute nothing in it.

Room       checkpoint, called by open_file.py
Maps       path -> Weights; the file is opened once and mapped, and each tensor is copied out when it is
           asked for
Reference  torch.save; the zip holds <name>/data.pkl and one member <name>/data/<key> a storage
See        tests/checkpoint/test_read_torch.py
"""

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labml_sd.checkpoint.pickle_values import PickleError, StoredTensor
from labml_sd.checkpoint.read_pickle import PickleReader
from labml_sd.checkpoint.weights import TensorInfo, Weights
from labml_sd.errors import CheckpointError

Span = tuple[int, int]  # first byte and the byte after the last, in the file
MAX_PICKLE_BYTES = 2**28  # the official v1 file has under 1 MB; the numbers lie outside the pickle
MAGIC_OF_STREAM = 0x1950A86A20F9469CFC6C  # first thing in the format before torch 1.6
ITEM_SIZES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}


def read_torch(path: Path) -> Weights:
    """Open a checkpoint that torch.save wrote and list its tensors.

    Objects that are no tensors (training callbacks, numpy numbers) are not built; `refused` names them.
    Raises CheckpointError when the file is damaged or is no checkpoint.
    """
    reader = PickleReader()
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            is_zip = data[:2] == b"PK"
            content, spans = _open_zip(file, data, reader) if is_zip else _open_stream(data, reader)
        tensors, entries = _tensors_in(content)
        for name, tensor in tensors.items():
            _check_bounds(name, tensor, spans)
    except PickleError as error:
        raise CheckpointError(
            f"{path}: not read, for its pickle holds a thing no checkpoint needs: {error}"
        ) from error
    except (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError) as error:
        raise CheckpointError(f"{path}: cut short or damaged ({error}); get the file again") from error

    def read(name: str) -> Tensor:
        return _read(tensors[name], spans, data)

    return Weights(
        path=path,
        tensors={name: TensorInfo(t.shape, t.storage.dtype) for name, t in tensors.items()},
        read=read,
        refused=tuple(sorted(reader.refused)),
        entries=frozenset(entries),
    )


def _open_zip(file: io.BufferedReader, data: mmap.mmap, reader: PickleReader) -> tuple[Any, dict[str, Span]]:
    """Read the pickle of a zip, and find where each storage lies in the file."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise PickleError("two zip members of one name")
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise PickleError("a zip, but not one that torch.save wrote (it has no data.pkl)")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise PickleError("a TorchScript program; expected weights")
    if (
        f"{folder}byteorder" in members
        and data[slice(*_span(members[f"{folder}byteorder"], data))] != b"little"
    ):
        raise PickleError("numbers in big-endian order")
    start, end = _span(members[pickles[0]], data)
    if end - start > MAX_PICKLE_BYTES:
        raise PickleError(f"a pickle of {end - start:,} bytes")
    prefix = f"{folder}data/"
    spans = {
        name.removeprefix(prefix): _span(m, data) for name, m in members.items() if name.startswith(prefix)
    }
    return reader.load(io.BytesIO(data[start:end])), spans


def _span(member: zipfile.ZipInfo, data: mmap.mmap) -> Span:
    """Where a member's bytes lie. Only stored members: torch never compresses, and a zip bomb must."""
    if member.flag_bits & 1:
        raise PickleError(f"encrypted zip member {member.filename}")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise PickleError(f"compressed zip member {member.filename}")
    header = data[member.header_offset : member.header_offset + 30]
    signature, n_name, n_extra = struct.unpack("<4s22xHH", header)
    start = member.header_offset + 30 + n_name + n_extra
    if signature != b"PK\3\4" or start + member.file_size > len(data):
        raise zipfile.BadZipFile(f"{member.filename} is not where the zip says")
    return start, start + member.file_size


def _open_stream(data: mmap.mmap, reader: PickleReader) -> tuple[Any, dict[str, Span]]:
    """Read the older format: five pickles in a row, then a count and the raw numbers of each storage."""
    if reader.load(data) != MAGIC_OF_STREAM:
        raise PickleError("a pickle, but not one that torch.save wrote")
    reader.load(data)  # the version of the format
    machine = reader.load(data)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise PickleError("numbers in big-endian order")
    content = reader.load(data)
    keys = reader.load(data)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in reader.storages for key in keys):
        raise PickleError("a list of storages that does not fit the tensors")
    spans = {}
    for key in keys:
        (n,) = struct.unpack("<q", data.read(8))
        start, end = data.tell(), data.tell() + n * ITEM_SIZES.get(reader.storages[key].dtype, 1)
        if n < 0 or end > len(data):
            raise EOFError("the file ends before its numbers do")
        spans[key] = (start, end)
        data.seek(end)
    return content, spans


def _tensors_in(content: Any) -> tuple[dict[str, StoredTensor], set[str]]:
    """Unwrap `state_dict`, then list tensors by name; a dictionary inside gives names with a dot."""
    for _ in range(4):
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if not isinstance(content, dict):
        raise PickleError(f"a {type(content).__name__} where a dictionary of tensors was expected")
    tensors: dict[str, StoredTensor] = {}
    for name, value in content.items():
        inside = value if isinstance(value, dict) else {}
        found = {str(name): value} | {f"{name}.{k}": v for k, v in inside.items()}
        tensors |= {k: v for k, v in found.items() if isinstance(v, StoredTensor)}
    return tensors, {str(name) for name, value in content.items() if not isinstance(value, StoredTensor)}


def _last_item(tensor: StoredTensor) -> int:
    return tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))


def _check_bounds(name: str, tensor: StoredTensor, spans: dict[str, Span]) -> None:
    """A window may not reach past its storage, nor be larger than it (a stride of 0 would blow it up)."""
    if tensor.storage.key not in spans:
        raise EOFError(f"the numbers of {name} are missing")
    start, end = spans[tensor.storage.key]
    n_stored = (end - start) // ITEM_SIZES.get(tensor.storage.dtype, 1)
    n_items = TensorInfo(tensor.shape, tensor.storage.dtype).n_parameters
    if tensor.storage.n > n_stored:
        raise EOFError(f"{name} has {n_stored} of {tensor.storage.n} numbers")
    if n_items and (_last_item(tensor) >= n_stored or n_items > n_stored):
        raise PickleError(f"{name} reaches past the end of its numbers")


def _read(tensor: StoredTensor, spans: dict[str, Span], data: mmap.mmap) -> Tensor:
    """Copy out the bytes between the tensor's first and last number, and look at them through its strides."""
    dtype: torch.dtype = getattr(torch, tensor.storage.dtype)
    if 0 in tensor.shape:
        return torch.empty(tensor.shape, dtype=dtype)
    start = spans[tensor.storage.key][0]
    with memoryview(data) as view:
        raw = bytearray(
            view[start + tensor.offset * dtype.itemsize : start + (_last_item(tensor) + 1) * dtype.itemsize]
        )
    return torch.frombuffer(raw, dtype=dtype).as_strided(tensor.shape, tensor.stride)
