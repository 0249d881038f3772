r"""Open a diffusers folder: settings in JSON, a weights file or shards for each network.

Maps       a folder -> OpenedCheckpoint
Reference  the folder layout of diffusers' StableDiffusionPipeline, of every version
Tests      tests/checkpoint/layouts/test_diffusers_folder.py
"""

import json
from dataclasses import replace
from pathlib import Path

from labml_sd.checkpoint.bundled import place_of
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Stored, Weights
from labml_sd.checkpoint.kind import recognise_unet
from labml_sd.checkpoint.layouts.compvis import is_no_weight
from labml_sd.checkpoint.layouts.diffusers import TEXT_PREFIX, modern_name, name_map
from labml_sd.checkpoint.layouts.read_configs import (
    Fields,
    read_autoencoder,
    read_prediction,
    read_schedule,
    read_text_encoder,
    read_unet,
)
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint, refuse_kind
from labml_sd.checkpoint.tokenizer_files import padding_id
from labml_sd.config import ModelConfig, sd_v1
from labml_sd.errors import CheckpointError

FOLDERS = {"text_encoder": "text_encoder", "unet": "unet", "autoencoder": "vae"}
DIFFUSERS_STEM = ("diffusion_pytorch_model",)
STEMS = {
    "text_encoder": ("model", "pytorch_model"),
    "unet": DIFFUSERS_STEM,
    "autoencoder": DIFFUSERS_STEM,
}
OWN_SETTINGS = "labml_sd.json"  # the two fields of ModelConfig that diffusers does not have

# In order of preference; full precision before half, safetensors before pickles.
ENDINGS = (
    ".safetensors",
    ".safetensors.index.json",
    ".fp16.safetensors",
    ".safetensors.index.fp16.json",
    ".fp16.safetensors.index.json",
    ".bin",
    ".bin.index.json",
    ".fp16.bin",
    ".bin.index.fp16.json",
)


def find_weights(folder: Path, part: str) -> Path | None:
    """The file, or the index of shards, with a part's weights; None if there is none."""
    return weights_in(place_of(folder, FOLDERS[part]), part)


def weights_in(folder: Path, part: str) -> Path | None:
    """The same, in the part's own folder."""
    places = [folder / f"{stem}{ending}" for ending in ENDINGS for stem in STEMS[part]]
    return next((path for path in places if path.is_file()), None)


def open_folder(folder: Path, config: ModelConfig | None = None) -> OpenedCheckpoint:
    """Open a model folder. CheckpointError when a part is missing or not supported."""
    if not (folder / "model_index.json").is_file():
        singles = sorted(
            p.name for pattern in ("*.safetensors", "*.ckpt") for p in folder.glob(pattern)
        )
        advice = "give one that has it"
        if (folder.parent / "model_index.json").is_file():
            advice = f"it is a part of one, give {folder.parent}"
        elif singles:
            advice = f"for a single file give its path, {folder / singles[0]}"
        raise CheckpointError(
            f"{folder}: no model_index.json, so this is not a diffusers folder; {advice}"
        )
    weights = {part: _open_part(folder, part) for part in FOLDERS}
    kind = recognise_unet(weights["unet"].tensors)
    refuse_kind(folder, kind)
    config = config or read_config(folder)
    found: dict[str, dict[str, Stored]] = {}
    ignored: list[str] = []
    for part, wanted in wanted_shapes(config).items():
        ours = {theirs: key for key, theirs in name_map(part, wanted, config).items()}
        found[part] = {}
        for name in weights[part].tensors:
            modern = modern_name(part, name)
            key = ours.get(modern, modern.removeprefix(TEXT_PREFIX))
            if is_no_weight(part, key):
                ignored.append(f"{FOLDERS[part]}: {name}")
            elif key in found[part]:
                raise CheckpointError(
                    f"{weights[part].path}: two names for one weight, {name}; "
                    "get the file again"
                )
            else:
                found[part][key] = Stored(weights[part], name)
    return OpenedCheckpoint(
        path=folder,
        layout="diffusers",
        kind=kind,
        config=config,
        found=found,
        ignored=tuple(ignored),
        refused=tuple(sorted({name for w in weights.values() for name in w.refused})),
        tokenizer=place_of(folder, "tokenizer"),
    )


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of the model from the folder's settings."""
    unet, vae, text_encoder, scheduler = (
        fields_of(place_of(folder, part) / name)
        for part, name in (
            ("unet", "config.json"),
            ("vae", "config.json"),
            ("text_encoder", "config.json"),
            ("scheduler", "scheduler_config.json"),
        )
    )
    own_file = folder / OWN_SETTINGS
    own = fields_of(own_file) if own_file.is_file() else Fields(str(own_file), {})
    try:
        autoencoder = read_autoencoder(vae)
        text = read_text_encoder(text_encoder)
        size = unet.number("sample_size", 512 // autoencoder.downsampling_factor)
        config = ModelConfig(
            name=str(own.values.get("name", sd_v1().name)),
            text_encoder=replace(text, pad_id=padding_id(place_of(folder, "tokenizer"))),
            unet=read_unet(unet),
            autoencoder=autoencoder,
            schedule=read_schedule(scheduler),
            prediction=read_prediction(scheduler),
            image_size=size * autoencoder.downsampling_factor,
            guidance_scale=own.real("guidance_scale", sd_v1().guidance_scale),
        )
    except ValueError as error:
        raise CheckpointError(
            f"{folder}: its settings contradict each other ({error}); get the folder again"
        ) from error
    known = "name" in own.values or config == sd_v1()
    return config if known else replace(config, name=folder.name)


def fields_of(path: Path) -> Fields:
    """Read a settings file. CheckpointError when it is missing or not a JSON object."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); get the folder again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error}); get the file again") from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: expected a JSON object, found {type(values).__name__}; get the file again"
        )
    return Fields(str(path), values)


def _open_part(folder: Path, part: str) -> Weights:
    path = find_weights(folder, part)
    if path is None:
        expected = f"{FOLDERS[part]}/{STEMS[part][0]}.safetensors"
        raise CheckpointError(
            f"{folder}: no weights of the {part}, expected {expected}; get the whole folder"
        )
    return open_weights(path)
