r"""A network of transformers, from a folder or from the hub.

Maps       a path or a hub id, the kind of the network  ->  its folder; the network
Tests      tests/interrogator/test_transformers_folder.py
"""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labml_sd.checkpoint.hub import is_hub_id, snapshot
from labml_sd.checkpoint.sources import to_path
from labml_sd.errors import CheckpointError

TEXTS = ("*.json", "*.txt")  # configuration and tokenizer
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that is there


def find_folder(source: str | PathLike[str], kind: str) -> Path:
    """The folder of a network of transformers' `kind`; what is on this disk comes first.

    Raises CheckpointError if it is nowhere, cannot be downloaded, or is of another kind.
    """
    path = to_path(source, f"a folder or a hub id of a {kind} model")
    if not path.is_dir():
        if path.exists() or not (isinstance(source, str) and is_hub_id(source)):
            raise CheckpointError(
                f"{source}: is not a folder; give a folder or a hub id of a {kind} model"
            )
        path = _fetch(source)
    found = _kind_of(path)
    if found != kind:
        raise CheckpointError(f"{source}: is a model of kind {found!r}; expected {kind!r}")
    if not any(list(path.glob(pattern)) for pattern in WEIGHTS):
        raise CheckpointError(f"{source}: no weights there; expected model.safetensors")
    return path


def _fetch(hub_id: str) -> Path:
    """Its texts and one set of weights, downloaded unless they are in the hub's cache."""
    for weights in WEIGHTS:
        includes = " ".join(f"--include '{each}'" for each in (*TEXTS, weights))
        folder = snapshot(hub_id, [*TEXTS, weights], f"hf download {hub_id} {includes}")
        if any(folder.glob(weights)):
            break
    return folder


def _kind_of(folder: Path) -> str:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config["model_type"])
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: has no config.json; give the folder of a transformers model"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: is damaged or names no model_type") from error


def load_network(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A network of the transformers class `kind`, without gradients.

    Nothing is downloaded. Raises CheckpointError for files that are damaged or incomplete.
    """
    try:
        network, info = kind.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except Exception as error:  # of many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder}: cannot be loaded ({reason})") from error
    missing = sorted(info["missing_keys"])
    if missing or info["mismatched_keys"]:
        names = ", ".join(missing[:3]) or "tensors of another shape"
        raise CheckpointError(f"{folder}: its weights are incomplete ({names}); get it again")
    assert isinstance(network, nn.Module)
    return network.eval().requires_grad_(False).to(device)
