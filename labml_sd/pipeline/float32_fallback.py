r"""Encoding and decoding again in float32, where float16 overflows.

Maps       a stage of the autoencoder in float16 [b c h w]  ->  the same, finite
Tests      tests/pipeline/test_half_precision.py
"""

import copy
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.acceleration import accelerate
from labml_sd.latent_diffusion import LatentDiffusion


def with_float32_fallback(
    model: LatentDiffusion,
    network: LatentDiffusion,
    stage: str,
    run: Callable[[LatentDiffusion], Float[Tensor, "b c h w"]],
) -> Float[Tensor, "b c h w"]:
    """`run(network)`; if its float16 numbers overflow, once more in float32, with a warning.

    The activations of SD's decoder come close to 65504, the largest float16; some pictures
    exceed it, and would be black. `network` is `model` or its accelerated form.
    """
    answer = run(network)
    if answer.dtype != torch.float16 or torch.isfinite(answer).all():
        return answer
    warnings.warn(f"{stage} left the range of float16: done again in float32", stacklevel=2)
    wide = copy.copy(model)  # the same networks but for the autoencoder
    autoencoder = copy.deepcopy(model.autoencoder).float()
    autoencoder = accelerate(autoencoder) if model.fast else autoencoder
    wide._modules = {**model._modules, "autoencoder": autoencoder}
    return run(wide)
