r"""Names in a single file: a prefix for the part and our own name, which is CompVis' name.

Maps       a name in the file <-> (part, our name)
Reference  CompVis ldm/models/diffusion/ddpm.py; ldm/modules/ema.py for the averaged weights;
           Stability-AI ldm/modules/encoders/modules.py, FrozenOpenCLIPEmbedder (SD v2)
Tests      tests/checkpoint/layouts/test_compvis.py
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from labml_sd.checkpoint.layouts import openclip
from labml_sd.errors import CheckpointError

PARTS = ("text_encoder", "unet", "autoencoder")

# The first prefix of a part is written. A longer one stands before the one it begins with. Some
# merges omit the level `text_model`; Turbo models have the same encoder under `conditioner`.
PREFIXES = {
    "text_encoder": (
        "cond_stage_model.transformer.text_model.",
        "cond_stage_model.transformer.",
        "conditioner.embedders.0.transformer.text_model.",
        "conditioner.embedders.0.transformer.",
    ),
    "unet": ("model.diffusion_model.",),
    "autoencoder": ("first_stage_model.",),
}
OPENCLIP = "cond_stage_model.model."  # the prefix of the text encoder of SD v2
# What else can have these prefixes: training losses, averages, and the positions 0 to 76, which
# some files contain rounded and none needs.
NOT_WEIGHTS = {
    "text_encoder": ("embeddings.position_ids", "text_projection"),
    "unet": (),
    "autoencoder": ("loss.", "model_ema."),
}


def split_name(name: str) -> tuple[str, str] | None:
    """Split a name of the file into part and our name; None if it is no weight of a part."""
    for part, prefixes in PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                key = name.removeprefix(prefix)
                return None if is_no_weight(part, key) else (part, key)
    return None


def is_no_weight(part: str, key: str) -> bool:
    """True for tensors that files contain beside the weights of a part."""
    return key.startswith(NOT_WEIGHTS[part])


def file_name(part: str, key: str) -> str:
    """The name under which a weight is written."""
    return PREFIXES[part][0] + key


def ema_name(key: str) -> str:
    """The name of a U-Net weight's running average. It has no dots, so it cannot be split."""
    return "model_ema." + f"diffusion_model.{key}".replace(".", "")


@dataclass(frozen=True)
class Place:
    """Where a weight is: the name in the file, and which of equal parts of that tensor."""

    name: str
    part: tuple[int, int] | None = None


def places_of(name: str, n_text_layers: int) -> list[tuple[str, str, Place]]:
    """The weights that a tensor of the file holds: (part, our name, place), mostly one.

    Text layers beyond `n_text_layers` are left out: SD v2 does not use the last layer of its
    CLIP.
    """
    if name.startswith(OPENCLIP):
        keys = openclip.our_names(name.removeprefix(OPENCLIP))
        used = [key for key in keys if (openclip.layer_of(key) or 0) < n_text_layers]
        return [
            ("text_encoder", key, Place(name, (i, len(used)) if len(used) > 1 else None))
            for i, key in enumerate(used)
        ]
    split = split_name(name)
    return [] if split is None else [(*split, Place(name))]


def find_names(
    names: Iterable[str], n_text_layers: int = sys.maxsize
) -> tuple[dict[str, dict[str, Place]], list[str]]:
    """Sort a file's names: {part: {our name: its place}}, and the rest.

    The rest is what a file may contain besides weights: tables of the schedule, averages,
    position ids. A weight under two names raises CheckpointError: it is ambiguous.
    """
    found: dict[str, dict[str, Place]] = {part: {} for part in PARTS}
    rest = []
    for name in names:
        places = places_of(name, n_text_layers)
        if not places:
            rest.append(name)
        for part, key, place in places:
            if key in found[part]:
                raise CheckpointError(
                    f"both {found[part][key].name} and {name} are the weight {key}; "
                    "expected one of them"
                )
            found[part][key] = place
    return found, rest


def as_file(
    parts: Mapping[str, Mapping[str, Tensor]], *, openclip_text: bool
) -> dict[str, Tensor]:
    """All weights under the names of a single file; the text encoder's as OpenCLIP has them."""
    tensors = {
        file_name(part, key): tensor
        for part, weights in parts.items()
        for key, tensor in weights.items()
        if not (openclip_text and part == "text_encoder")
    }
    if openclip_text:
        text = openclip.packed(parts["text_encoder"])
        tensors |= {OPENCLIP + name: tensor for name, tensor in text.items()}
    return tensors
