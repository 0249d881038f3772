r"""Write a file or a folder completely or not at all.

It is written under a temporary name beside its destination and renamed when the disk has all
of it; a rename is one step for the file system. After an error or Ctrl-C nothing is left of it,
and an existing file is unchanged. A killed process leaves the temporary file, whose name starts
with a dot. Replacing a folder takes two steps: after a kill between them, the old folder has a
name that ends with .old.

Maps       a path -> a path to write to
Tests      tests/checkpoint/files/test_replace.py
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labml_sd.utilities.flush import flush_file, flush_folder, flush_tree


def _beside(path: Path, word: str) -> Path:
    """A name in the same folder, of at most 255 bytes."""
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.{word}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file is moved to `path` if the block ends without error."""
    new = _beside(path, "new")
    try:
        new.touch()
        mode = new.stat().st_mode  # the user's default; safetensors would make it private
        yield new
        new.chmod(mode)
        flush_file(new)
        os.replace(new, path)
        flush_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to write to; it is moved to `path` if the block ends without error.

    Other entries of an existing folder there (a model card, say) are kept.
    """
    new, old = _beside(path, "new"), _beside(path, "old")
    try:
        new.mkdir()
        yield new
        if path.exists():
            _copy_others(path, new)
        flush_tree(new)
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
        flush_folder(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _copy_others(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        if (target / entry.name).exists():
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, target / entry.name)
