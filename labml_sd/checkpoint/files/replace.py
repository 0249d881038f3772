r"""Write a file or a folder whole or not at all.

It is written under another name beside its place and moved there when the disk holds all of it,
which is one step for the file system. After an error or Ctrl-C nothing is left of it, and what
was there before still is. A process that is killed leaves its unfinished one under the other
name, which starts with a dot. To replace a folder takes two steps: killed between them, the
older one is there under a name ending in .old.

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
    return path.with_name(
        f".{path.name[:50]}.{secrets.token_hex(4)}.{word}"
    )  # 255 bytes at most


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a name to write to; the file takes its place when the block ends well."""
    new = _beside(path, "new")
    try:
        new.touch()
        mode = (
            new.stat().st_mode
        )  # what this user's files have; safetensors would make it private
        yield new
        new.chmod(mode)
        flush_file(new)
        os.replace(new, path)
        flush_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to write to; it takes its place when the block ends well.

    What stands beside the written entries in an older folder there (a model card, say) is kept.
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
