r"""Names in a single file: a prefix for the part and our own name, which is CompVis' name.

Maps       a name in the file <-> (part, our name)
Reference  CompVis ldm/models/diffusion/ddpm.py; ldm/modules/ema.py for the averaged weights
Tests      tests/checkpoint/layouts/test_compvis.py
"""

from collections.abc import Iterable

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


def find_names(names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Sort a file's names: {part: {our name: name in the file}}, and the rest.

    The rest is what a file may contain besides weights: tables of the schedule, averages,
    position ids. A weight under two names raises CheckpointError: it is ambiguous.
    """
    found: dict[str, dict[str, str]] = {part: {} for part in PARTS}
    rest = []
    for name in names:
        split = split_name(name)
        if split is None:
            rest.append(name)
            continue
        part, key = split
        if key in found[part]:
            raise CheckpointError(
                f"both {found[part][key]} and {name} are the weight {key}; expected one of them"
            )
        found[part][key] = name
    return found, rest
