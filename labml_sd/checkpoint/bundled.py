r"""The models that come with the package.

Maps       a name  ->  its folder;  the folder, a part  ->  where that part is
Tests      tests/checkpoint/test_bundled.py
"""

from importlib.resources import files
from pathlib import Path

MODELS = Path(str(files("labml_sd"))) / "models"
TINY = "tiny"
BUNDLED = (TINY, "tiny-inpainting")


def place_of(folder: Path, name: str) -> Path:
    """A part of a model's folder.

    A bundled model has only the parts in which it differs from "tiny"; the others are there.
    """
    own = folder / name
    if own.exists() or folder.parent != MODELS:
        return own
    return MODELS / TINY / name
