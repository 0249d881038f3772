r"""What an in-painting U-Net sees beside the noisy latent: the mask, and the visible picture.

Maps       picture, mask  ->  channels [b 1+z h w]
Reference  diffusers pipeline_stable_diffusion_inpaint.py, prepare_mask_latents;
           Stability-AI scripts/gradio/inpainting.py
Tests      tests/pipeline/test_inpainting_model.py
"""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.images.tensors import mask_to_tensor, pad_to_multiple, to_tensor
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.latents import cells_to_paint, encode_pixels

VISIBLE_BELOW = 0.5  # of the mask


def channels_for(
    model: LatentDiffusion,
    network: LatentDiffusion,
    picture: Image.Image,
    mask: Image.Image,
    n_images: int,
) -> Float[Tensor, "b extra h w"] | None:
    """The channels for a picture and a mask of its size. None for a model without them."""
    if not model.config.for_inpainting:
        return None
    pixels, paint = (
        pad_to_multiple(each, model.config.size_multiple)
        for each in (to_tensor(picture), mask_to_tensor(mask))
    )
    visible = encode_pixels(model, network, hidden(pixels, paint), n_images)  # [b z h w]
    cells = cells_to_paint(model, mask)  # [1 1 h w]
    return joined_channels(cells.expand(n_images, -1, -1, -1), visible)


def channels_for_nothing(
    model: LatentDiffusion, network: LatentDiffusion, height: int, width: int, n_images: int
) -> Float[Tensor, "b extra h w"] | None:
    """For txt2img and img2img: nothing is visible, and all is painted."""
    white, size = Image.new("L", (width, height), 255), (width, height)
    return channels_for(model, network, Image.new("RGB", size), white, n_images)


def joined_channels(
    cells: Float[Tensor, "b 1 h w"], visible: Float[Tensor, "b z h w"]
) -> Float[Tensor, "b extra h w"]:
    """The mask first, then the scaled latent of the visible picture."""
    return torch.cat([cells, visible], dim=1)


def hidden(
    pixels: Float[Tensor, "b 3 H W"], mask: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, "b 3 H W"]:
    """The picture with grey, 0, where it is not visible."""
    return pixels * (mask < VISIBLE_BELOW)
