r"""What a call requests, bound to a model: where prompts and adapters meet the networks.

Maps       model, request  ->  network, Denoiser; prompts  ->  cond [b n d]
Tests      tests/pipeline/test_binding.py
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.acceleration import accelerate
from labml_sd.errors import GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.offload import Offloaded
from labml_sd.pipeline.conditioning import Conditioning
from labml_sd.pipeline.denoiser import Denoiser
from labml_sd.pipeline.memory import retried
from labml_sd.pipeline.request import Request


@contextmanager
def running(model: LatentDiffusion) -> Iterator[LatentDiffusion]:
    """The networks during one call; those of an `Offloaded` model leave the device with it.

    The hash of the weights' file, which the pictures will name, is read meanwhile.
    """
    for file in (model.weights_file, model.vae_file):
        if file is not None:
            _ = file.hashing
    if isinstance(model, Offloaded):
        with model.run(fast=model.fast) as run:
            yield run
    else:
        yield network_for(model)


def network_for(model: LatentDiffusion) -> LatentDiffusion:
    """The networks of one call: `model` itself, or with `fast` its accelerated form."""
    return accelerate(model) if model.fast else model


def denoiser_for(
    network: LatentDiffusion,
    request: Request,
    channels: Float[Tensor, "b extra h w"] | None = None,
) -> Denoiser:
    """The network with a call's prompts and guidance; at scale 1 without negative prompts.

    `channels` are what an in-painting U-Net sees beside the noisy latent.
    """
    skip = request.settings.clip_skip
    cond = embed(network, request.prompts, skip)
    is_guided = request.guidance.scale != 1
    uncond = embed(network, request.negative_prompts, skip) if is_guided else None
    given = Conditioning(cond, uncond, channels)
    prediction = network.config.prediction
    return Denoiser(network, given, request.guidance, prediction=prediction)


def embed(
    network: LatentDiffusion, prompts: Sequence[str], clip_skip: int = 1
) -> Float[Tensor, "b n d"]:
    """Encode each distinct prompt once, in the U-Net's dtype. GenerationError for NaN."""
    distinct = list(dict.fromkeys(prompts))
    c = retried(lambda: network.encode_prompt(distinct, -clip_skip)).to(
        network.device, network.dtype
    )
    if not torch.isfinite(c).all():
        raise GenerationError(
            "the text encoder gave NaN or Inf: its weights are damaged, or too large for "
            "float16; run the model in float32 or bfloat16"
        )
    return c[[distinct.index(prompt) for prompt in prompts]]
