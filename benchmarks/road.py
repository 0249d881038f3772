"""How the pipelines call our networks: the one place in the benchmarks that says it."""

from collections.abc import Callable

from torch import Tensor

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.pipeline.binding import network_for
from labml_sd.sampler import Level, Moment


def embedded(model: LatentDiffusion, prompts: list[str]) -> Tensor:
    """Embeddings of prompts."""
    return network_for(model).encode_prompt(prompts)


def evaluation(
    model: LatentDiffusion, cond: Tensor, uncond: Tensor, scale: float
) -> Callable[[Tensor, Level], Tensor]:
    """(x, level) -> guided noise, with the prompts bound."""
    denoise = Denoiser(network_for(model), Conditioning(cond, uncond), scale)
    return lambda x, level: denoise(x, Moment(level=level)).eps


def decoded(model: LatentDiffusion, z: Tensor) -> Tensor:
    """Pixels of a scaled latent."""
    return network_for(model).decode_latent(z)


def encoded(model: LatentDiffusion, image: Tensor) -> Tensor:
    """The scaled mean of a picture's posterior."""
    return network_for(model).encode_image(image)
