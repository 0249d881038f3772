r"""Read a .ckpt file, torch's zip or the stream before torch 1.6, and run nothing in it.

Before `torch.load(weights_only=True)` opens the file, three things are checked: the records of
the zip are apart from each other and stored as they are, the pickle contains no hostile name
and costs no more than its bytes warrant, and every storage that it mentions is as long as its
record. A zip is mapped: its tensors are views of the file, read when they are used. A stream is
read as a whole.

Maps       path -> Weights
Reference  torch.save; the zip contains <name>/data.pkl and for each storage <name>/data/<key>
Tests      tests/checkpoint/files/test_torch_file.py, tests/checkpoint/test_hostile.py
"""

import mmap
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from typing import Any

import torch
from torch import Tensor
from torch.serialization import set_default_mmap_options

from labml_sd.checkpoint.files.pickle_names import PARAMETER_DICT
from labml_sd.checkpoint.files.pickle_scan import MAX_BYTES, PickleScan
from labml_sd.checkpoint.files.stand_ins import standing_in
from labml_sd.checkpoint.files.torch_errors import (
    TorchFileError,
    damaged,
    suspicious,
    unsupported,
)
from labml_sd.checkpoint.files.torch_zip import torch_records
from labml_sd.checkpoint.files.weights import MAX_DIMS, TensorInfo, Weights, aligned
from labml_sd.checkpoint.printable import is_plain_name, shown
from labml_sd.errors import CheckpointError

MAGIC_OF_STREAM = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's number, as a pickle
MAX_ENTRIES = 200_000  # in the file's dictionaries; a training checkpoint has some 3,000


def read_torch(path: Path) -> Weights:
    """Open a checkpoint that torch.save wrote and list its tensors.

    Objects that are no tensors (training callbacks, settings) are not built; `refused` names
    them. Raises CheckpointError when the file is damaged, contains what no checkpoint needs, or
    is of a kind that torch's reader does not support.
    """
    try:
        scan = PickleScan()
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            is_zip = data[:2] == b"PK"
            outermost = _scan_zip(path, data, scan) if is_zip else _scan_stream(data, scan)
        tensors, entries = _tensors_in(_load(path, scan, is_zip=is_zip), outermost)
    except TorchFileError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Weights(
        path=path,
        tensors={
            name: TensorInfo(tuple(t.shape), _dtype_name(t.dtype))
            for name, t in tensors.items()
        },
        read=lambda name: aligned(tensors[name].detach()),
        refused=tuple(sorted(shown(n) for n in scan.stand_ins if n != PARAMETER_DICT)),
        entries=frozenset(entries),
    )


def _scan_zip(path: Path, data: mmap.mmap, scan: PickleScan) -> str:
    """Scan a zip's pickle and compare its storages with the records. Return what made it."""
    records = torch_records(path, data)
    if "constants.pkl" in records:
        raise suspicious("a TorchScript program; expected weights")
    for name, (start, end) in records.items():
        if end - start > MAX_BYTES and not name.startswith("data/"):  # torch copies the others
            raise suspicious(f"a zip record {name} of over {MAX_BYTES:,} bytes")
    start, end = records["data.pkl"]
    if scan.read(data[start:end]) != end - start:
        raise suspicious("something behind the end of the pickle")
    for key, n_bytes in scan.storages.items():
        begin, after = records.get(f"data/{key}", (0, -1))
        if after - begin != n_bytes:
            found = f"{after - begin:,} of" if after >= 0 else "none of"
            raise damaged(f"storage {shown(key)} has {found} {n_bytes:,} bytes")
    return scan.outermost


def _scan_stream(data: mmap.mmap, scan: PickleScan) -> str:
    """Scan the older format: five pickles, then a count and the numbers of each storage.

    The pickles are torch's number, a version, what the machine was like, the content, and the
    storages' names in the order of their numbers.
    """
    if data[: len(MAGIC_OF_STREAM)] != MAGIC_OF_STREAM:
        raise suspicious("a pickle that torch.save did not write")
    machine = scan.read(data, len(MAGIC_OF_STREAM))
    content = scan.read(data, machine)
    if not re.search(rb"little_endian(q.|r....)?\x88", data[machine:content], re.DOTALL):
        raise unsupported("numbers in big-endian order")
    names = scan.read(data, content)
    outermost = scan.outermost
    numbers = scan.read(data, names)
    try:
        texts = [text for _, text, _ in genops(data[names:numbers]) if isinstance(text, str)]
    except ValueError as error:
        raise damaged(f"its list of storages: {shown(error)}") from error
    if sorted(texts) != sorted(scan.storages):
        raise damaged("its list of storages does not fit its tensors")
    size = numbers + sum(8 + n_bytes for n_bytes in scan.storages.values())
    if size != len(data):
        raise damaged(f"{len(data):,} of {size:,} bytes are there")
    return outermost


def _load(path: Path, scan: PickleScan, *, is_zip: bool) -> Any:
    """Let torch read the file. Nothing is written into it: the mapping is private."""
    mapped = is_zip and path.suffix != ".safetensors"  # by this ending torch takes it for one
    options: AbstractContextManager[Any] = nullcontext()
    if sys.platform != "win32":  # there every mapping is private
        options = set_default_mmap_options(mmap.MAP_PRIVATE)
    try:
        with path.open("rb") as file, standing_in(scan.stand_ins), options:
            source = str(path) if mapped else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except UnpicklingError as error:
        raise unsupported(f"its pickle ({shown(_reason(error))})") from error
    except Exception as error:  # a damaged pickle can fail in any call inside the reader
        raise damaged(f"torch: {shown(_reason(error))}") from error


def _reason(error: Exception) -> str:
    """The line in which torch says what is wrong, without its advice for programmers."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return text.splitlines()[0] if text else type(error).__name__


def _tensors_in(content: Any, outermost: str) -> tuple[dict[str, Tensor], set[str]]:
    """Unwrap `state_dict`, then list tensors by name, and the names of all else.

    A dictionary inside gives names with a dot. A list of dictionaries, as some embeddings are,
    is read as a dictionary with the keys 0, 1, ...
    """
    for _ in range(4):
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if isinstance(content, list) and content and all(isinstance(i, dict) for i in content):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise unsupported(f"{shown(outermost)} where a dictionary of tensors was expected")
    n_entries = 0
    tensors: dict[str, Tensor] = {}
    others: set[str] = set()
    for name, value in _named(content):
        inside = _named(value) if isinstance(value, dict) else []
        n_entries += 1 + len(inside)
        if n_entries > MAX_ENTRIES:
            raise suspicious(f"dictionaries of more than {MAX_ENTRIES:,} entries")
        if not isinstance(value, Tensor):
            others.add(name)
        for full_name, tensor in [(name, value), *((f"{name}.{k}", v) for k, v in inside)]:
            if isinstance(tensor, Tensor):
                _check(full_name, tensor)
                if tensors.setdefault(full_name, tensor) is not tensor:
                    raise suspicious(f"two tensors of one name, {full_name}")
    return tensors, others


def _named(entries: dict[Any, Any]) -> list[tuple[str, Any]]:
    """What has a text or a whole number for a key, and no class, say."""
    return [(str(key), value) for key, value in entries.items() if type(key) in (str, int)]


def _check(name: str, tensor: Tensor) -> None:
    """torch keeps a tensor inside its storage, but a stride of 0 may make it far larger."""
    if not is_plain_name(name):
        raise suspicious(f"a tensor whose name cannot be shown, {shown(name)}")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise unsupported(f"sparse or quantized tensors, such as {name}")
    if tensor.dim() > MAX_DIMS or tensor.nbytes > tensor.untyped_storage().nbytes():
        raise suspicious(f"{name}, a tensor that is larger than its numbers")


@cache
def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
