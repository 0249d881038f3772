r"""The ways into and out of the latent space: noise, pictures, masks, and finished pictures.

Maps       seeds -> noise [b z h w]; image -> z [b z h w]; mask -> cells [1 1 h w];
           z -> PIL images
Tests      tests/pipeline/test_txt2img.py, tests/pipeline/test_img2img.py
"""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.images.tensors import (
    crop,
    latent_mask,
    mask_to_tensor,
    pad_to_multiple,
    to_pil,
    to_tensor,
)
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.float32_fallback import with_float32_fallback
from labml_sd.pipeline.memory import BatchSplitter, retried
from labml_sd.pipeline.request import Request
from labml_sd.sampler import NoiseSource


def state_dtype(model: LatentDiffusion) -> torch.dtype:
    """Number type of everything between the networks: float32, or the networks' if wider."""
    return torch.promote_types(model.dtype, torch.float32)


def noise_source(model: LatentDiffusion, request: Request, h: int, w: int) -> NoiseSource:
    """One generator per picture, for latents of `h` x `w` cells."""
    shape = (model.config.autoencoder.z_channels, h, w)
    return NoiseSource(
        request.seeds,
        shape,
        model.device,
        state_dtype(model),
        noise=request.settings.noise,
        variation=request.variation,
    )


def encode(
    model: LatentDiffusion, network: LatentDiffusion, image: Image.Image, n_images: int
) -> Float[Tensor, "b z h w"]:
    """The mean of the posterior of a picture, once per picture to draw.

    The picture is padded by reflection to the size that the networks need. `network` is `model`
    or its accelerated form. Raises `GenerationError` for NaN.
    """
    pixels = pad_to_multiple(to_tensor(image), model.config.size_multiple)  # [1 3 H W]
    return encode_pixels(model, network, pixels, n_images)


def encode_pixels(
    model: LatentDiffusion,
    network: LatentDiffusion,
    pixels: Float[Tensor, "1 3 H W"],
    n_images: int,
) -> Float[Tensor, "b z h w"]:
    """As `encode`, for pixels in [-1, 1] that are padded already."""
    z = with_float32_fallback(
        model, network, "encode", lambda network: retried(lambda: network.encode_image(pixels))
    )  # [1 z h w]
    if not torch.isfinite(z).all():
        raise GenerationError(
            'stage "encode" gave NaN or infinite latents: '
            "the autoencoder's weights are damaged"
        )
    return z.to(state_dtype(model)).expand(n_images, -1, -1, -1)


def cells_to_paint(model: LatentDiffusion, mask: Image.Image) -> Float[Tensor, "1 1 h w"]:
    """1 for every latent cell with a pixel to repaint. The mask is padded as its picture is."""
    pixels = pad_to_multiple(mask_to_tensor(mask), model.config.size_multiple)
    cells = latent_mask(pixels, model.config.autoencoder.downsampling_factor)
    return cells.to(model.device, state_dtype(model))


def decode(
    model: LatentDiffusion,
    network: LatentDiffusion,
    z: Float[Tensor, "b z h w"],
    height: int,
    width: int,
) -> list[Image.Image]:
    """Decode, and cut off the padding. Raises `GenerationError` for NaN."""
    pixels = with_float32_fallback(
        model,
        network,
        "decode",
        lambda network: BatchSplitter(len(z)).run(lambda some: network.decode_latent(z[some])),
    )  # [b 3 H W], padded
    return to_pil(crop(pixels, height, width), stage="decode")
