r"""The source of a model: the bundled one, a file, a folder, or the hub.

Maps       a bundled name | path | hub id -> OpenedCheckpoint
Tests      tests/checkpoint/test_sources.py
"""

from os import PathLike
from pathlib import Path

from labml_sd.checkpoint.bundled import BUNDLED, MODELS
from labml_sd.checkpoint.hub import fetch_model, is_hub_id
from labml_sd.checkpoint.layouts.diffusers_folder import open_folder
from labml_sd.checkpoint.layouts.single_file import open_single
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError, quoted

NAMES = " or ".join(map(repr, BUNDLED))


def locate(source: str | PathLike[str]) -> Path:
    """The file or folder of a source. What exists on this disk is used before the hub."""
    if isinstance(source, str) and source in BUNDLED:
        return MODELS / source
    path = to_path(source, f"a file, a folder, a hub id, {NAMES}")
    if path.exists():
        return path
    if isinstance(source, str) and is_hub_id(source):
        return fetch_model(source)
    if "://" in str(source):
        raise CheckpointError(
            f"{source}: is an address; download the file, and give its path, or a hub id"
        )
    raise CheckpointError(
        f"{source}: there is no such file; give a file, a diffusers folder, a hub id, {NAMES}"
    )


def to_path(value: object, expected: str) -> Path:
    """The path that a user gave. CheckpointError, naming what is expected, for what is none."""
    if not isinstance(value, str | PathLike) or not str(value):
        raise CheckpointError(f"the path is {quoted(value)}; give {expected}")
    try:
        path = Path(value).expanduser()
        path.exists()  # OSError for a name that is too long
        path.resolve()  # ValueError for a null byte
        str(path).encode()  # the safetensors library opens no other names
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{quoted(value)}: the name is not UTF-8, and weights need one that is; rename it"
        ) from error
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # ~ of an unknown user
        raise CheckpointError(
            f"{quoted(value)}: is not a path ({error}); give {expected}"
        ) from error
    return path


def open_source(
    source: str | PathLike[str], *, ema: bool = False, config: ModelConfig | None = None
) -> OpenedCheckpoint:
    """Open a model. Raises CheckpointError."""
    path = locate(source)
    if ema and path.is_dir():
        raise CheckpointError(
            f"{path}: a diffusers folder contains one set of weights; load it without ema=True"
        )
    try:
        if path.is_dir():
            return open_folder(path, config)
        return open_single(path, ema=ema, config=config)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
