r"""Open a single-file checkpoint, as CompVis, A1111 and ComfyUI use them.

Maps       a .safetensors or .ckpt file -> OpenedCheckpoint
Reference  CompVis scripts/txt2img.py: a state dict with one prefix for each network
Tests      tests/checkpoint/layouts/test_single_file.py
"""

import json
from pathlib import Path

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Stored, Weights
from labml_sd.checkpoint.kind import recognise
from labml_sd.checkpoint.layouts.compvis import ema_name, find_names
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint, refuse_kind
from labml_sd.config import ModelConfig, sd_v1
from labml_sd.errors import CheckpointError

CONFIG = "labml_sd.config"  # in the metadata of files of this package: the configuration
TOKENIZER = "labml_sd.tokenizer"  # and the tokenizer, unless it is that of SD v1


def open_single(
    path: Path, *, ema: bool = False, config: ModelConfig | None = None
) -> OpenedCheckpoint:
    """Open a file. Without a `config`, here or inside the file, it is taken for SD v1.

    `ema` takes the U-Net's running averages instead of the plain weights; only training
    checkpoints contain both. Raises CheckpointError when the file is not a model, or not a
    supported one.
    """
    weights = open_weights(path)
    kind = recognise(weights)
    refuse_kind(path, kind)
    config = config or _config_inside(weights) or sd_v1()
    try:
        names, rest = find_names(weights.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if ema:
        names["unet"] = _averages(path, weights, config)
        used = {name for part in names.values() for name in part.values()}
        rest = [name for name in weights.tensors if name not in used]
    return OpenedCheckpoint(
        path=path,
        layout="CompVis",
        kind=kind,
        config=config,
        found={
            part: {key: Stored(weights, name) for key, name in keys.items()}
            for part, keys in names.items()
        },
        ignored=tuple(rest),
        refused=weights.refused,
        tokenizer=weights.metadata.get(TOKENIZER),
    )


def _averages(path: Path, weights: Weights, config: ModelConfig) -> dict[str, str]:
    """Find the running average of every U-Net weight."""
    names = {key: ema_name(key) for key in wanted_shapes(config)["unet"]}
    found = {key: name for key, name in names.items() if name in weights.tensors}
    if not found:
        raise CheckpointError(
            f"{path}: contains no averaged (EMA) weights; load it without ema=True"
        )
    return found


def _config_inside(weights: Weights) -> ModelConfig | None:
    """Read the configuration that this package wrote into the file."""
    if CONFIG not in weights.metadata:
        return None
    try:
        values = json.loads(weights.metadata[CONFIG])
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return ModelConfig.from_dict(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{weights.path}: its {CONFIG} is damaged ({error}); give config=..."
        ) from error
