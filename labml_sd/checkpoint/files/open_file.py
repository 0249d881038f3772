r"""Open a weights file by what is in it; its name decides nothing.

Maps       path -> Weights
Tests      tests/checkpoint/files/test_open_file.py
"""

import json
from pathlib import Path

from labml_sd.checkpoint.files.safetensors_file import read_safetensors
from labml_sd.checkpoint.files.torch_file import read_torch
from labml_sd.checkpoint.files.weights import Weights, join_shards
from labml_sd.checkpoint.printable import is_plain_name, shown
from labml_sd.errors import CheckpointError

OTHER_FILES = {  # how files begin that people rename by mistake
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"RIFF": "a WebP picture",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"Rar!": "a rar archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
}
MAX_INDEX_BYTES = 2**24


def open_weights(path: Path) -> Weights:
    """Open a safetensors file, a torch checkpoint, or an index of shards.

    Raises CheckpointError for anything else, and for a damaged file.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CheckpointError(f"{path}: is a pipe or a device; expected a file")
        if path.name.endswith(".json"):
            return _open_index(path)
        with path.open("rb") as file:
            head = file.read(512)
        _refuse_other_file(path, head)
        return read_safetensors(path) if head[8:9] == b"{" else read_torch(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error


def _refuse_other_file(path: Path, head: bytes) -> None:
    """Name what was given instead of a checkpoint."""
    text = head.lstrip().lower()
    other = next((name for magic, name in OTHER_FILES.items() if head.startswith(magic)), None)
    if not head:
        found = "empty; get the file again"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "is a web page, not a model; use the download link of the file itself"
    elif head.startswith(b"version https://git-lfs"):
        found = "is a git-lfs pointer, not the file itself; run `git lfs pull` in its folder"
    elif other:
        found = f"is {other}, not a model; expected a .safetensors or .ckpt file"
    elif head[257:262] == b"ustar":
        found = "is a tar archive, as torch wrote before 0.1.10; "
        found += "save its state_dict with a later one"
    elif head[8:9] == b"{" or head[:2] == b"PK" or head[:1] == b"\x80":
        return
    else:
        found = "neither a safetensors file nor a torch checkpoint; get the file again"
    raise CheckpointError(f"{path}: {found}")


def _open_index(path: Path) -> Weights:
    """Read `weight_map`, {name: shard}, and open every shard beside the index."""
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise CheckpointError(
            f"{path}: over {MAX_INDEX_BYTES:,} bytes, too long for an index; get another"
        )
    try:
        names = set(json.loads(path.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not an index of shards (weight_map is missing); give a weights file, "
            "or the folder of a diffusers model"
        ) from error
    for name in names:
        if not isinstance(name, str) or not _is_neighbour(name):
            raise CheckpointError(
                f"{path}: names a shard outside its own folder, {shown(repr(name))}; "
                "get the folder again"
            )
    return join_shards(path, [open_weights(path.parent / name) for name in sorted(names)])


def _is_neighbour(name: str) -> bool:
    """True for the plain name of a file beside the index that is not an index itself."""
    return (
        Path(name).name == name
        and is_plain_name(name)
        and name != ".."
        and not name.endswith(".json")
    )
