r"""The files that a run resumes from, written completely or not at all.

Maps       a state of tensors and numbers  <->  a .pt file
Tests      tests/training/test_state_files.py
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from labml_sd.errors import CheckpointError
from labml_sd.utilities.replace import whole_file


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run; inside, an error of the disk is a `CheckpointError`.

    A folder that cannot be written is found before the work begins.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except OSError as error:
        reason = error.strerror or error
        advice = "make room there, or choose another folder"
        raise CheckpointError(f"{folder}: cannot be written ({reason}); {advice}") from error


def write_file(state: dict[str, Any], path: Path) -> None:
    """Replace a file by a complete new one. Raises OSError, and leaves the old one then."""
    try:
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # PyTorch's writer hides the system's error behind its own
        hidden = error.__context__
        is_hidden = isinstance(hidden, OSError) and "StreamWriter" in str(error)
        raise hidden if is_hidden and hidden else error from None


def read_file(path: Path) -> dict[str, Any]:
    """Read what `write_file` wrote. Raises CheckpointError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("not a dictionary")
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a training checkpoint; delete it to start again"
        ) from error
    return state
