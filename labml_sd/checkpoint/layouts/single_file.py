r"""Open a single-file checkpoint, as CompVis, A1111 and ComfyUI use them.

Maps       a .safetensors or .ckpt file -> OpenedCheckpoint
Reference  CompVis scripts/txt2img.py: a state dict with one prefix for each network
Tests      tests/checkpoint/layouts/test_single_file.py
"""

import json
from pathlib import Path

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Stored, Weights
from labml_sd.checkpoint.kind import SD2, recognise
from labml_sd.checkpoint.layouts.compvis import Place, ema_name, find_names
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint, refuse_kind
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError

CONFIG = "labml_sd.config"  # in the metadata of files of this package: the configuration
TOKENIZER = "labml_sd.tokenizer"  # and the tokenizer, unless it is that of SD v1


def open_single(
    path: Path, *, ema: bool = False, config: ModelConfig | None = None
) -> OpenedCheckpoint:
    """Open a file. Without a `config`, here or inside the file, it is that of its kind.

    `ema` takes the U-Net's running averages instead of the plain weights; only training
    checkpoints contain both. Raises CheckpointError when the file is not a model, or not a
    supported one.
    """
    weights = open_weights(path)
    kind = recognise(weights)
    refuse_kind(path, kind)
    given = config or _config_inside(weights)
    config = given or kind.config
    try:
        places, rest = find_names(weights.tensors, config.text_encoder.n_layers)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if ema:
        averages = _averages(path, weights, config)
        places["unet"] = {key: Place(name) for key, name in averages.items()}
        used = {place.name for part in places.values() for place in part.values()}
        rest = [name for name in weights.tensors if name not in used]
    return OpenedCheckpoint(
        path=path,
        layout="CompVis",
        kind=kind,
        config=config,
        found={
            part: {key: Stored(weights, at.name, at.part) for key, at in found.items()}
            for part, found in places.items()
        },
        ignored=tuple(rest),
        refused=weights.refused,
        tokenizer=weights.metadata.get(TOKENIZER),
        prediction_is_known=given is not None or kind is not SD2,
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
