r"""Names in a single file: the modules here carry the CompVis names, so a name is a prefix and ours.

Maps       a name in the file <-> (part, our name)
Reference  CompVis ldm/models/diffusion/ddpm.py; ldm/modules/ema.py for the names of averaged weights
Tests      tests/checkpoint/layouts/test_compvis.py
"""

from collections.abc import Iterable

from labml_sd.errors import CheckpointError

PARTS = ("text_encoder", "unet", "autoencoder")

# The first prefix of a part is the one that is written. Longer ones stand before those that
# they begin with. Some merges left out the level `text_model`; Turbo models hold the same
# encoder under `conditioner`.
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
# What these prefixes may carry besides weights: training losses, averages, and the positions 0
# to 76 in order, which some files hold rounded and none needs.
NO_WEIGHTS = {
    "text_encoder": ("embeddings.position_ids", "text_projection"),
    "unet": (),
    "autoencoder": ("loss.", "model_ema."),
}


def split_name(name: str) -> tuple[str, str] | None:
    """Split a name of the file into the part and our name there; None for all that is no weight of a part."""
    for part, prefixes in PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix):
                key = name.removeprefix(prefix)
                return None if is_no_weight(part, key) else (part, key)
    return None


def is_no_weight(part: str, key: str) -> bool:
    """True for tensors that files keep beside the weights of a part."""
    return key.startswith(NO_WEIGHTS[part])


def file_name(part: str, key: str) -> str:
    """The name under which a weight is written."""
    return PREFIXES[part][0] + key


def ema_name(key: str) -> str:
    """The name of a U-Net weight's running average. Its dots are gone, so only our names lead to it."""
    return "model_ema." + f"diffusion_model.{key}".replace(".", "")


def find_names(names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Sort a file's names: {part: {our name: name in the file}}, and the rest.

    The rest is what a file may hold besides weights: tables of the schedule, averages, position
    ids, ... A weight under two names raises CheckpointError: which of them is meant is
    anybody's guess.
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
                f"both {found[part][key]} and {name} hold the weight {key}; expected one of them"
            )
        found[part][key] = name
    return found, rest
