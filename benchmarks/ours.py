"""How the pipelines call our networks, and the two variants of a model that are measured."""

import copy
from collections.abc import Callable

from torch import Tensor

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.pipeline.binding import network_for
from labml_sd.sampler import Level


def variants(model: LatentDiffusion, *, plain: bool) -> dict[str, LatentDiffusion]:
    """The model as loaded, "ours", and if requested the same weights without acceleration."""
    if not plain:
        return {"ours": model}
    other = copy.copy(model)
    other.fast = False
    return {"ours": model, "ours, plain layers": other}


def guided_step(
    model: LatentDiffusion, cond: Tensor, uncond: Tensor, scale: float
) -> Callable[[Tensor, Level], Tensor]:
    """(x, level) -> guided eps: what a sampler asks for, with the prompts bound."""
    return Denoiser(network_for(model), Conditioning(cond, uncond), scale).eps


def embedding(model: LatentDiffusion, prompts: list[str]) -> Callable[[], Tensor]:
    """Prompts to their embeddings, the tokenizer included."""
    network = network_for(model)
    return lambda: network.encode_prompt(prompts)


def decoding(model: LatentDiffusion, z: Tensor) -> Callable[[], Tensor]:
    """A scaled latent to pixels."""
    network = network_for(model)
    return lambda: network.decode_latent(z)


def encoding(model: LatentDiffusion, image: Tensor) -> Callable[[], Tensor]:
    """An image to the scaled mean of its posterior."""
    network = network_for(model)
    return lambda: network.encode_image(image)
