r"""An image tower as a file, with the name of the text transformer that it fits.

Maps       ImageTower <-> a .safetensors file
Tests      tests/interrogator/test_tower_file.py
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from labml_sd.checkpoint.files.safetensors_file import read_safetensors
from labml_sd.config import MAX_NUMBER
from labml_sd.errors import CheckpointError
from labml_sd.interrogator.image_tower import ImageTower, ImageTowerConfig
from labml_sd.utilities.replace import whole_file

CONFIG, TEXT = "image_tower", "text_transformer"  # in the metadata


def bundled_tower() -> Path:
    """The file of the tower for the bundled tiny model."""
    return Path(str(files("labml_sd"))) / "models" / "tiny_image_tower" / "model.safetensors"


def save_tower(tower: ImageTower, text: nn.Module, path: Path) -> None:
    """Write a tower in float16, with the fingerprint of its text transformer.

    Raises CheckpointError if the file cannot be written.
    """
    tensors = {
        name: w.detach().half().cpu().contiguous() for name, w in tower.named_parameters()
    }
    metadata = {
        "format": "pt",
        CONFIG: json.dumps(asdict(tower.config)),
        TEXT: fingerprint(text),
    }
    try:
        with whole_file(path) as new:
            save_file(tensors, new, metadata=metadata)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be written ({reason})") from error


def load_tower(path: Path, text: nn.Module) -> ImageTower:
    """Read a tower in float32 onto the CPU.

    Raises CheckpointError for a file that is missing, damaged or holds something else, and for
    a text transformer other than the one that the tower was trained for.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the image tower that training wrote")
    weights = read_safetensors(path)
    tower = _empty_tower(path, weights.metadata)
    shapes = {name: tuple(w.shape) for name, w in tower.named_parameters()}
    if {name: info.shape for name, info in weights.tensors.items()} != shapes:
        raise CheckpointError(f"{path}: its tensors are not those of an image tower")
    if weights.metadata.get(TEXT) != fingerprint(text):
        raise CheckpointError(
            f"{path}: was trained for another text encoder; use it with that model, or run "
            "labml-sd train image_tower --init MODEL"
        )
    tensors = {name: weights.read(name).float() for name in shapes}
    tower.load_state_dict(tensors, assign=True)
    return tower.eval().requires_grad_(False)


def _empty_tower(path: Path, metadata: Mapping[str, str]) -> ImageTower:
    """A tower without memory: a file can claim any size."""
    try:
        numbers = json.loads(metadata[CONFIG])
        if not all(type(n) is int and 0 < n <= MAX_NUMBER for n in numbers.values()):
            raise ValueError("a number is out of range")
        config = ImageTowerConfig(**numbers)
        with torch.device("meta"):
            return ImageTower(config)
    except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: is not an image tower; give one that labml-sd train image_tower wrote"
        ) from error


def fingerprint(text: nn.Module) -> str:
    """Ten digits of a hash of the weights in float16, as models are stored."""
    digest = hashlib.sha256()
    for name, weight in sorted(text.named_parameters()):
        digest.update(name.encode())
        digest.update(weight.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]
