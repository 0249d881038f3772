r"""Wait until data is on the disk, so that no file is incomplete after a power cut.

Maps       a path -> nothing
Tests      tests/utilities/test_flush.py
"""

import os
from contextlib import suppress
from pathlib import Path


def flush_file(path: Path) -> None:
    """Wait for the content of a file. Raises OSError when the disk is full."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(path: Path) -> None:
    """Wait for the names in a folder, if the system can: not on Windows, for example."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
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
