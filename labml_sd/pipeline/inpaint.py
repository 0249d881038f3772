r"""In-painting: what is white in a mask is drawn again, what is black keeps its very bits.

Maps       model, prompt, image, mask -> list of PIL images of the image's size
Paper      Lugmayr et al. 2022 (RePaint), arXiv:2201.09865, section 4.1 (without resampling)
Tests      tests/pipeline/test_inpaint.py
"""

from collections.abc import Callable, Sequence
from typing import SupportsFloat, Unpack

import torch
from PIL import Image

from labml_sd.images.masks import load_mask
from labml_sd.images.reading import PathLike
from labml_sd.images.tensors import blend_pixels, open_image, resize_to
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.binding import denoiser_for, running
from labml_sd.pipeline.latents import cells_to_paint, decode, encode, noise_source
from labml_sd.pipeline.memory import memory_errors_explained
from labml_sd.pipeline.parameters import attach_parameters
from labml_sd.pipeline.request import check_call, make_request
from labml_sd.sampler import Step, add_noise, inpaint_blend, sample
from labml_sd.settings import SettingsDict, takes_settings


@takes_settings
@torch.no_grad()
def inpaint(
    model: LatentDiffusion,
    prompt: str | Sequence[str],
    image: PathLike | Image.Image,
    mask: PathLike | Image.Image,
    *,
    strength: SupportsFloat = 1.0,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
    **settings: Unpack[SettingsDict],
) -> list[Image.Image]:
    """Draw the white parts of `mask` again; black keeps `image`'s pixels exactly, grey blends.

    `mask` has the size of `image`; strokes of one colour on a transparent ground are painted,
    whatever the colour. At strength 1 the painted area starts from pure noise, below
    1 from the noised picture; 0 paints the autoencoder's round trip. A latent cell is painted
    where any of its pixels is. After every step the other cells are put back at the noise level
    just reached. `height` and `width` resize picture and mask first; the rest is as in
    `img2img`. Raises `ImageError`, `PromptError` and `GenerationError`.
    """
    check_call(model, on_step, progress)
    request = make_request(model, prompt, settings, strength=strength)
    height, width = request.settings.height, request.settings.width
    opened = open_image(image)
    grey = resize_to(load_mask(mask, opened.size), height, width)
    picture = resize_to(opened, height, width)
    with (
        memory_errors_explained(len(request.seeds), *picture.size),
        running(model) as network,
    ):
        z = encode(model, network, picture, len(request.seeds))  # [b z h w]
        if request.strength > 0:
            noised_to, levels = request.start()
            denoise = denoiser_for(network, request)
            draw = noise_source(model, request, z.shape[2], z.shape[3]).draw
            noise = draw()
            pure = request.noise_scale * noise
            x = pure if request.strength == 1 else add_noise(z, noise, noised_to)
            z = sample(
                request.sampler,
                denoise,
                x,
                levels,
                draw=draw,
                blend=inpaint_blend(z, noise, cells_to_paint(model, grey)),
                on_step=on_step,
                progress=progress,
            )
        painted = decode(model, network, z, picture.height, picture.width)
    images = [blend_pixels(picture, each, grey) for each in painted]
    return attach_parameters(model, request, images, "inpaint", picture, grey)
