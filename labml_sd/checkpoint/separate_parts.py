r"""One network of a model from a file of its own: another VAE, U-Net or text encoder.

Maps       a part, a file or folder  ->  its tensors under our names
Reference  stabilityai/sd-vae-ft-mse, which is published in both layouts
Tests      tests/checkpoint/test_separate_parts.py
"""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Stored, Weights
from labml_sd.checkpoint.kind import recognise
from labml_sd.checkpoint.layouts.compvis import (
    OPENCLIP,
    PREFIXES,
    Place,
    is_no_weight,
    places_of,
)
from labml_sd.checkpoint.layouts.diffusers import modern_name, name_map
from labml_sd.checkpoint.layouts.diffusers_folder import fields_of, find_weights, weights_in
from labml_sd.checkpoint.layouts.read_configs import VAE_FIXED, read_autoencoder
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint
from labml_sd.checkpoint.sources import to_path
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError

MORE_PREFIXES = {"autoencoder": ("vae.",), "unet": (), "text_encoder": (OPENCLIP,)}


def exchange_parts(
    opened: OpenedCheckpoint, sources: Mapping[str, str | PathLike[str] | None]
) -> tuple[OpenedCheckpoint, dict[str, Path]]:
    """The model with some parts from other files, and the paths of these files.

    `sources` is {part: file or folder}; None leaves a part as it is.
    """
    paths: dict[str, Path] = {}
    for part, source in sources.items():
        if source is not None:
            opened, paths[part] = exchange_part(opened, part, source)
    return opened, paths


def exchange_part(
    opened: OpenedCheckpoint, part: str, source: str | PathLike[str]
) -> tuple[OpenedCheckpoint, Path]:
    """The model with one part from another file, and the path of that file.

    `source` is a .safetensors or .ckpt file with this network alone or in a whole model, in
    CompVis' or diffusers' layout, or a diffusers folder of either. Raises CheckpointError.
    """
    path = weights_path(part, to_path(source, "a file or a folder with weights"))
    weights = open_weights(path)
    config = _config_beside(path, part, opened.config)
    names, unused = find_part(part, weights, config)
    if not names.keys() & wanted_shapes(config)[part].keys():
        raise CheckpointError(
            f"{path}: has no weights of the {part}; it is: {recognise(weights).title}"
        )
    first = names.get("decoder.conv_in.weight")
    if part == "autoencoder" and first is not None:
        _check_latent(path, weights.tensors[first.name].shape[1], config)
    found = {key: Stored(weights, at.name, at.part) for key, at in names.items()}
    ignored = (*opened.ignored, *(f"{path.name}: {name}" for name in unused))
    return replace(
        opened, config=config, found={**opened.found, part: found}, ignored=ignored
    ), path


def weights_path(part: str, path: Path) -> Path:
    """The file itself, or of a folder the one with the part's weights."""
    if not path.is_dir():
        return path
    found = weights_in(path, part) or find_weights(path, part)
    if found is None:
        raise CheckpointError(
            f"{path}: no weights of the {part} in this folder; give their file"
        )
    return found


def find_part(
    part: str, weights: Weights, config: ModelConfig
) -> tuple[dict[str, Place], list[str]]:
    """The tensors of a part under our names, whatever the layout, and the names not used."""
    prefixes = sorted((*PREFIXES[part], *MORE_PREFIXES[part]), key=len, reverse=True)
    prefix = next((p for p in prefixes if any(n.startswith(p) for n in weights.tensors)), "")
    wanted = wanted_shapes(config)[part]
    ours = {theirs: key for key, theirs in name_map(part, wanted, config).items()}
    found: dict[str, Place] = {}
    unused = []
    for name in weights.tensors:
        key = name.removeprefix(prefix)
        if not name.startswith(prefix) or is_no_weight(part, key):
            unused.append(name)
        elif prefix == OPENCLIP:
            places = places_of(name, config.text_encoder.n_layers)
            found |= {ours_key: place for _, ours_key, place in places}
            unused += [] if places else [name]
        else:
            found[key if key in wanted else ours.get(modern_name(part, key), key)] = Place(name)
    return found, unused


def _config_beside(path: Path, part: str, config: ModelConfig) -> ModelConfig:
    """The configuration, with what the config.json beside a VAE's file says of its latents."""
    beside = path.parent / "config.json"
    if part != "autoencoder" or not beside.is_file():
        return config
    fields = fields_of(beside)
    if fields.values.get("_class_name") != VAE_FIXED["_class_name"]:  # of something else
        return config
    autoencoder = read_autoencoder(fields)
    _check_latent(path, autoencoder.z_channels, config)
    return replace(config, autoencoder=autoencoder)


def _check_latent(path: Path, channels: int, config: ModelConfig) -> None:
    """Raise CheckpointError for a VAE with another number of latent channels than the U-Net."""
    wanted = config.unet.out_channels
    if channels != wanted:
        raise CheckpointError(
            f"{path}: a VAE with {channels} latent channels; the model needs one with {wanted}"
        )
