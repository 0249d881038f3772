r"""What a call requests, bound to a model: where prompts and adapters meet the networks.

Maps       model, request  ->  network, Denoiser
Tests      tests/pipeline/test_binding.py
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from labml_sd.acceleration import accelerate
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.offload import Offloaded
from labml_sd.pipeline.denoiser import Denoiser
from labml_sd.pipeline.prompts import conditioning_for
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
    given = conditioning_for(network, request, channels)
    prediction = network.config.prediction
    return Denoiser(network, given, request.guidance, prediction=prediction)
