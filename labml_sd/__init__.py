"""Stable Diffusion, built in the open.

    prompt --text_encoder--> c [b 77 d] --+
                                          v
    noise x_T [b 4 h w] --------> sampler + unet --> z [b 4 h w] --autoencoder--> image [b 3 8h
    8w]

The rooms, in the order of the flow:

    config            every number of the models
    text_encoder      prompt -> c
    unet              (x_t, t, c) -> eps
    sampler           x_T -> z: schedule, guidance, one loop, one file a sampler
    autoencoder       image <-> z
    latent_diffusion  the networks and the schedule, held together
    fast              the networks once more, sooner: the same numbers
    checkpoint        file <-> model
    pipeline          txt2img, img2img, inpaint
    image             picture <-> tensor
    training          the bundled tiny model, from scratch
"""

# ruff: noqa: I001, RUF022 - imports and names stand in the order of the flow

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from labml_sd.errors import (
        CheckpointError,
        GenerationError,
        ImageError,
        LabmlSdError,
        PromptError,
    )
    from labml_sd.config import ModelConfig
    from labml_sd.latent_diffusion import LatentDiffusion
    from labml_sd.checkpoint import LoadReport, check, load_model, save_model
    from labml_sd.pipeline import txt2img, img2img, inpaint
    from labml_sd.images import load_img, save_images
    from labml_sd.images import GenerationParameters, read_parameters
    from labml_sd.sampler import SAMPLERS, Step
    from labml_sd.unet import AttentionMap, record_attention

__all__ = [
    "ModelConfig",
    "LatentDiffusion",
    "load_model",
    "save_model",
    "check",
    "LoadReport",
    "txt2img",
    "img2img",
    "inpaint",
    "Step",
    "SAMPLERS",
    "load_img",
    "save_images",
    "read_parameters",
    "GenerationParameters",
    "record_attention",
    "AttentionMap",
    "LabmlSdError",
    "CheckpointError",
    "ImageError",
    "PromptError",
    "GenerationError",
]

_ROOMS = (
    *("errors", "config", "text_encoder", "unet", "sampler", "autoencoder", "latent_diffusion"),
    "acceleration",
    *("checkpoint", "pipeline", "images"),
)


def __getattr__(name: str) -> object:
    """Import a room when it, or a name of it, is first used.

    PyTorch takes seconds to import; until then the command line must answer --help, and Ctrl-C.
    """
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in _ROOMS:
            found = vars(importlib.import_module(f"{__name__}.{room}"))
            if name in found:
                return globals().setdefault(name, found[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, imported or not."""
    return sorted({*globals(), *__all__, *_ROOMS})
