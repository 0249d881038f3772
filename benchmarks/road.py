"""How the pipelines ask our networks: the one place here that says it."""

from torch import Tensor

from labml_sd import acceleration as fast
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import Guidance
from labml_sd.sampler.protocol import Evaluate


def embedded(model: LatentDiffusion, prompts: list[str]) -> Tensor:
    """Prompts to what the U-Net listens to."""
    return fast.encode_prompt(model, prompts)


def evaluation(model: LatentDiffusion, cond: Tensor, uncond: Tensor, scale: float) -> Evaluate:
    """(x, level) -> guided noise, with the prompts built in."""
    return fast.evaluate_with(model, cond, uncond, Guidance(scale))


def decoded(model: LatentDiffusion, z: Tensor) -> Tensor:
    """Pixels of a scaled latent."""
    return fast.decode(model.autoencoder, z, fast=model.fast)


def encoded(model: LatentDiffusion, image: Tensor) -> Tensor:
    """The scaled mean of a picture's posterior."""
    return fast.encode(model.autoencoder, image, fast=model.fast)
