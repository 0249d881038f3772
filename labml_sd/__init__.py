"""Stable Diffusion as a small annotated package.

    prompt --text_encoder--> c [b 77 d] --+
                                          v
    noise x_T [b 4 h w] --------> sampler + unet --> z [b 4 h w] --autoencoder--> [b 3 8h 8w]

The subpackages in the order of the flow, each with what goes in and what comes out:

    settings          keyword arguments -> Settings: every setting of a call, written once
    config            nothing -> every number of the models
    text_encoder      prompt -> c: tokenizer and CLIP text transformer
    prompt_tools      a prompt -> variants of it, longer prompts, how it is read
    unet              (x_t, t, c) -> eps: attention and residual blocks
    sampler           x_T -> z: noise schedule, guidance, one loop, one file a sampler
    autoencoder       image <-> z
    latent_diffusion  three networks and a schedule -> one model
    acceleration      a network -> the same network with faster layers
    offload           a model -> the same model for a small GPU
    adapters          what changes a model for one call: embeddings
    checkpoint        weight files and folders <-> model
    images            picture files <-> tensors; the texts inside a picture
    pipeline          model, prompt (, image (, mask)) -> pictures: txt2img, img2img, inpaint

Around them:

    tiny              a seed -> drawn scenes with their prompts; the recipe of the bundled model
    training          recipe, scenes -> trained weights
    evaluation        model -> figures: does a picture show what its prompt says
    figures           tensors -> plots of the notebooks and the docs
    cli               command line -> all of the above
    utilities         device, Ctrl-C, safe writing
    errors            the exceptions that a user can cause
"""

# ruff: noqa: I001, RUF022 - imports and names stand in the order of the flow

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from labml_sd.config import ModelConfig
    from labml_sd.latent_diffusion import LatentDiffusion
    from labml_sd.adapters import Embedding
    from labml_sd.checkpoint import (
        LoadReport,
        check,
        load_embedding,
        load_model,
        save_embedding,
        save_model,
    )
    from labml_sd.pipeline.txt2img import txt2img
    from labml_sd.pipeline.img2img import img2img
    from labml_sd.pipeline.inpaint import inpaint
    from labml_sd.pipeline.outpaint import outpaint
    from labml_sd.settings import Settings
    from labml_sd.sampler import SAMPLERS, Step
    from labml_sd.images import load_img, save_images
    from labml_sd.pipeline.parameters import GenerationParameters, read_parameters
    from labml_sd.unet import AttentionMap, record_attention
    from labml_sd.prompt_tools import generate_prompts, prompt_variants
    from labml_sd.errors import (
        CheckpointError,
        GenerationError,
        ImageError,
        LabmlSdError,
        PromptError,
    )

__all__ = [
    "ModelConfig",
    "LatentDiffusion",
    "load_model",
    "save_model",
    "check",
    "LoadReport",
    "Embedding",
    "load_embedding",
    "save_embedding",
    "txt2img",
    "img2img",
    "inpaint",
    "outpaint",
    "Settings",
    "Step",
    "SAMPLERS",
    "load_img",
    "save_images",
    "read_parameters",
    "GenerationParameters",
    "record_attention",
    "AttentionMap",
    "prompt_variants",
    "generate_prompts",
    "LabmlSdError",
    "CheckpointError",
    "ImageError",
    "PromptError",
    "GenerationError",
]

_MODULES = (  # those that need no PyTorch first
    *("errors", "config", "settings"),
    *("text_encoder", "prompt_tools", "unet", "sampler", "autoencoder", "adapters"),
    "latent_diffusion",
    *("acceleration", "checkpoint", "images", "pipeline"),
)


def __getattr__(name: str) -> object:
    """Import a module when it, or a name of it, is first used.

    PyTorch takes seconds to import; until then the command line must answer --help, and Ctrl-C.
    """
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        for module in _MODULES:
            found = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in found:
                return globals().setdefault(name, found[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, imported or not."""
    return sorted({*globals(), *__all__, *_MODULES})
