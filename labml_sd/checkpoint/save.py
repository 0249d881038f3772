r"""Save a model as a folder that diffusers opens, or as a single file in CompVis' layout.

Maps       LatentDiffusion -> a folder or a .safetensors file
Reference  diffusers StableDiffusionPipeline.save_pretrained; CompVis' names in one state dict
Tests      tests/checkpoint/test_save.py
"""

import json
from os import PathLike
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from labml_sd.checkpoint.layouts import write_configs
from labml_sd.checkpoint.layouts.compvis import as_file
from labml_sd.checkpoint.layouts.diffusers import name_map
from labml_sd.checkpoint.layouts.diffusers_folder import FOLDERS, OWN_SETTINGS, STEMS
from labml_sd.checkpoint.layouts.single_file import CONFIG, TOKENIZER
from labml_sd.checkpoint.sources import to_path
from labml_sd.checkpoint.tokenizer_files import CLIP_L_VOCAB, tokenizer_text, write_tokenizer
from labml_sd.checkpoint.weights_to_save import weights_to_save
from labml_sd.errors import CheckpointError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.utilities.replace import whole_file, whole_folder


def save_model(
    model: LatentDiffusion, path: str | PathLike[str], layout: str = "diffusers"
) -> None:
    """Write the model with the dtype of its weights; `load_model` reads it back bit for bit.

    `"diffusers"` writes a folder, `"compvis"` one .safetensors file with the configuration (and
    a tokenizer other than SD v1's) in its metadata. An existing model is replaced when the new
    one is complete. torch.compile and parametrizations are undone in what is written.

    Raises CheckpointError when the weights are not those of `model.config`, something else is
    in the way, or the path cannot be written.
    """
    place = to_path(path, "the name of a folder or of a .safetensors file").resolve()
    try:
        if layout == "diffusers":
            _save_folder(model, place)
        elif layout == "compvis":
            _save_file(model, place)
        else:
            raise CheckpointError(
                f"layout {layout!r} is unknown; expected 'diffusers' or 'compvis'"
            )
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{place}: cannot be written ({reason}); nothing of it was left behind"
        ) from error


def _save_file(model: LatentDiffusion, path: Path) -> None:
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{path}: layout 'compvis' writes one file; give a name that ends in .safetensors"
        )
    if path.is_dir():
        raise CheckpointError(
            f"{path}: is a folder; layout 'compvis' writes one file, so give another name"
        )
    is_v2 = model.config.unet.linear_projections
    tensors = as_file(weights_to_save(model), openclip_text=is_v2)
    metadata = {"format": "pt", CONFIG: json.dumps(model.config.to_dict())}
    words = tokenizer_text(model.text_encoder.tokenizer)
    if model.config.text_encoder.vocab_size != CLIP_L_VOCAB:
        metadata[TOKENIZER] = words
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as new:
        save_file(tensors, new, metadata=metadata)
        _sort_metadata(new)


def _sort_metadata(path: Path) -> None:
    """Give equal models equal bytes: the library writes the metadata in a random order."""
    with path.open("r+b") as file:
        n_header = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_header))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
        file.seek(8)
        file.write(text.encode().ljust(n_header))


def _save_folder(model: LatentDiffusion, path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise CheckpointError(
            f"{path}: is a file; layout 'diffusers' writes a folder, so give another name"
        )
    if path.exists() and any(path.iterdir()) and not (path / "model_index.json").is_file():
        raise CheckpointError(
            f"{path}: is a folder with other things in it; give a new or empty one"
        )
    words = tokenizer_text(model.text_encoder.tokenizer)
    all_weights = weights_to_save(model)
    config = model.config
    settings = {
        "model_index.json": write_configs.write_index(config),
        OWN_SETTINGS: {"name": config.name, "guidance_scale": config.guidance_scale},
        "unet/config.json": write_configs.write_unet(config),
        "vae/config.json": write_configs.write_autoencoder(config),
        "text_encoder/config.json": write_configs.write_text_encoder(config),
        "scheduler/scheduler_config.json": write_configs.write_schedule(config),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(path, marker="model_index.json") as new:
        for name, values in settings.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        text = config.text_encoder
        write_tokenizer(words, new / "tokenizer", text.n_positions, text.pad_id)
        for part, weights in all_weights.items():
            with whole_file(new / FOLDERS[part] / f"{STEMS[part][0]}.safetensors") as file:
                names = name_map(part, weights, config)
                tensors = {
                    names[key]: _as_diffusers(names[key], tensor)
                    for key, tensor in weights.items()
                }
                save_file(tensors, file, metadata={"format": "pt"})


def _as_diffusers(name: str, tensor: Tensor) -> Tensor:
    """diffusers stores the 1x1 convolutions of the autoencoder's attention as matrices."""
    in_attention = ".mid_block.attentions." in name and name.startswith(
        ("encoder.", "decoder.")
    )
    return tensor.flatten(1) if in_attention and tensor.ndim == 4 else tensor
