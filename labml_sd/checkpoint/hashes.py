r"""The hash by which other programs name a model; a large file is read only once for it.

Maps       a weights file or folder -> ten hex digits
           an embedding file -> twelve hex digits
Tests      tests/checkpoint/test_hashes.py
"""

import hashlib
import json
import os
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from os import PathLike
from pathlib import Path
from threading import Thread
from typing import Any

from labml_sd.checkpoint.layouts.diffusers_folder import find_weights
from labml_sd.errors import CheckpointError
from labml_sd.utilities.replace import whole_file

NOTED_FROM = 100_000_000  # bytes; a smaller file is read as fast as a note
NOTES_AT_MOST = 1_000


@dataclass(frozen=True)
class WeightsFile:
    """A weights file as it was when a model was loaded from it."""

    path: Path  # absolute
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, source: str | PathLike[str]) -> "WeightsFile | None":
        """The file of a model, or of a folder its U-Net's; None if it cannot be found."""
        path = _weights_file(Path(source).absolute())
        stamp = _stamp(path)
        return None if stamp is None else cls(path, stamp)

    @property
    def hash(self) -> str | None:
        """Its `model_hash`; None if the file was changed or replaced before this was read."""
        return self.hashing.result()

    @cached_property
    def hashing(self) -> "Future[str | None]":
        """Starts to read the file in the background, where a large one takes seconds."""
        future: Future[str | None] = Future()

        def read() -> None:
            try:
                same = _stamp(self.path) == self.stamp
                digits = model_hash(self.path) if same else None
                future.set_result(digits if _stamp(self.path) == self.stamp else None)
            except BaseException as error:  # raised where the result is read
                future.set_exception(error)

        Thread(target=read, daemon=True).start()
        return future

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle reads for itself."""
        return WeightsFile, (self.path, self.stamp)


def _weights_file(path: Path) -> Path:
    """The file, or of a folder its U-Net's."""
    return find_weights(path, "unet") or path if path.is_dir() else path


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Size, time of the last change and inode: another file has another one."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


def model_hash(path: str | PathLike[str]) -> str:
    """The "Model hash" of A1111: ten hex digits of the SHA-256 of a file, or a folder's U-Net.

    A large file takes some seconds the first time. Its hash is then noted in the user's cache
    with the file's size and time of change, and taken from there as long as both are the same.
    Raises CheckpointError when there is no file.
    """
    file = _weights_file(Path(path))
    try:
        with file.open("rb") as stream:
            return _noted(file.resolve(), stream)
    except OSError as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error.strerror}); expected a weights file"
        ) from error


def embedding_hash(path: str | PathLike[str]) -> str:
    """The hash of an embedding in A1111's "TI hashes": twelve hex digits of the SHA-256.

    Raises CheckpointError when there is no file.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _noted(file: Path, stream: BufferedReader) -> str:
    about = os.fstat(stream.fileno())
    if about.st_size < NOTED_FROM:
        return _hash(stream)
    stamp, notes = f"{about.st_size} {about.st_mtime_ns} ", _notes()
    note = notes.get(str(file))
    if isinstance(note, str) and note.startswith(stamp):
        return note.removeprefix(stamp)
    digits = _hash(stream)
    _write({**dict([*notes.items()][1 - NOTES_AT_MOST :]), str(file): stamp + digits})
    return digits


def _hash(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()[:10]


def _place() -> Path:
    """The file of the notes. It can be deleted at any time."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "labml_sd" / "model_hashes.json"


def _notes() -> dict[str, Any]:
    """The notes; none if there is no file, or a damaged one."""
    try:
        notes = json.loads(_place().read_text("utf-8"))
    except (OSError, ValueError, RuntimeError, RecursionError):  # RuntimeError: no home folder
        return {}
    return notes if isinstance(notes, dict) else {}


def _write(notes: dict[str, Any]) -> None:
    """Write the notes. If that fails, the file is read again the next time."""
    try:
        place = _place()
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(place) as new:
            new.write_text(json.dumps(notes), "utf-8")
    except (OSError, ValueError, RuntimeError):
        return
