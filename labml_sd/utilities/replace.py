r"""Write a file or a folder completely or not at all.

It is written under a temporary name beside its destination and renamed when the disk has all
of it; a rename is one step for the file system. After an error or Ctrl-C nothing is left of it,
and an existing file is unchanged. A killed process leaves the temporary file, whose name starts
with a dot. An existing folder stays, with its mode: it may be a mount point, or the current
folder of a process. The new entries take the places of the old ones, one by one; the entry
that makes it a model folder goes first and comes last, so after a kill between them there is
no mixture that could be loaded, and the old entries are in a folder that ends with .old.
After a power cut nothing is incomplete either: each rename waits until the disk has the data.

Maps       a path -> a path to write to
Tests      tests/utilities/test_replace.py
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _beside(path: Path, word: str) -> Path:
    """A name in the same folder, of at most 255 bytes."""
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.{word}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file is moved to `path` if the block ends without error."""
    new = _beside(path, "new")
    try:
        new.touch()
        # that of the old file, or the user's default; safetensors would make it private
        mode = (path if path.is_file() else new).stat().st_mode
        yield new
        new.chmod(mode)
        flush_file(new)
        os.replace(new, path)
        flush_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield a new folder to write to; it becomes `path` if the block ends without error.

    Other entries of an existing folder there (a model card, say) are kept. `marker` is the
    entry without which the folder is not read.
    """
    exists = path.is_dir()
    new = _beside(path / "model" if exists else path, "new")
    try:
        new.mkdir()
        yield new
        flush_tree(new)
        if exists:
            _exchange(path, new, marker)
        else:
            os.replace(new, path)
        flush_folder(path if exists else path.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _exchange(path: Path, new: Path, marker: str) -> None:
    """Move the entries of `new` into `path`, and back if that fails."""
    names = sorted((entry.name for entry in new.iterdir()), key=lambda name: name == marker)
    old = new.with_suffix(".old")
    old.mkdir()
    try:
        for name in reversed(names):
            if os.path.lexists(path / name):
                os.replace(path / name, old / name)
        for name in names:
            os.replace(new / name, path / name)
    except BaseException:
        for name in names:
            if not (new / name).exists():
                os.replace(path / name, new / name)
            if os.path.lexists(old / name):
                os.replace(old / name, path / name)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def flush_file(path: Path) -> None:
    """Wait for the content of a file. Raises OSError when the disk is full."""
    _flush(path, os.O_RDWR)


def flush_folder(path: Path) -> None:
    """Wait for the names in a folder, if the system can: not on Windows, for example."""
    with suppress(OSError):
        _flush(path, os.O_RDONLY)


def _flush(path: Path, access: int) -> None:
    handle = os.open(path, access)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(path: Path) -> None:
    """Wait for a folder and everything in it."""
    for folder, _, names in os.walk(path):
        for name in names:
            if not (Path(folder) / name).is_symlink():
                flush_file(Path(folder) / name)
        flush_folder(Path(folder))
