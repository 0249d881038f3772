r"""Image to image: a picture is noised part of the way and drawn again under a prompt.

Maps       model, prompt, image -> list of PIL images of the image's size
Paper      Meng et al. 2022 (SDEdit), arXiv:2108.01073, section 3
Tests      tests/pipeline/test_img2img.py
"""

from collections.abc import Callable, Sequence
from typing import SupportsFloat, Unpack

import torch
from PIL import Image

from labml_sd.images.reading import PathLike
from labml_sd.images.tensors import open_image, resize_to
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.binding import denoiser_for, running
from labml_sd.pipeline.inpainting_model import channels_for_nothing
from labml_sd.pipeline.latents import decode, encode, noise_source
from labml_sd.pipeline.memory import memory_errors_explained
from labml_sd.pipeline.parameters import attach_parameters
from labml_sd.pipeline.request import check_call, make_request
from labml_sd.sampler import Step, add_noise, sample
from labml_sd.settings import SettingsDict, takes_settings


@takes_settings
@torch.no_grad()
def img2img(
    model: LatentDiffusion,
    prompt: str | Sequence[str],
    image: PathLike | Image.Image,
    *,
    strength: SupportsFloat = 0.75,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
    **settings: Unpack[SettingsDict],
) -> list[Image.Image]:
    r"""Noise `image` and draw it again: the last floor(strength * steps) steps, at least one.

    $$ x_t = \sqrt{\bar\alpha_t}\, z + \sqrt{1 - \bar\alpha_t}\, \epsilon $$

    is the start, at the level of the first of these steps. Strength 0 returns the autoencoder's
    round trip. Strength 1 noises to the highest level, where $\sqrt{\bar\alpha_T} = 0.068$ of
    the picture's amplitude is left: 1 does not mean that nothing is kept. The picture keeps its
    size; `height` and `width` resize it first, and with one of them the proportions are kept.
    With `compat` strength means what it means to that tool, except that 0 and 1 are never an
    error. The rest is as in `txt2img`. Raises `ImageError`, `PromptError` and
    `GenerationError`.
    """
    check_call(model, on_step, progress)
    request = make_request(model, prompt, settings, strength=strength, task="img2img")
    picture = resize_to(open_image(image), request.settings.height, request.settings.width)
    with (
        memory_errors_explained(len(request.seeds), *picture.size),
        running(model) as network,
    ):
        z = encode(model, network, picture, len(request.seeds))  # [b z h w]
        if request.strength > 0:
            noised_to, levels = request.start()
            factor = model.config.autoencoder.downsampling_factor
            height, width = (factor * side for side in z.shape[2:])
            channels = channels_for_nothing(model, network, height, width, len(z))
            denoise = denoiser_for(network, request, channels)
            draw = noise_source(model, request, z.shape[2], z.shape[3]).draw
            x = add_noise(z, draw(), noised_to)
            z = sample(
                request.sampler,
                denoise,
                x,
                levels,
                draw=draw,
                on_step=on_step,
                progress=progress,
            )
        images = decode(model, network, z, picture.height, picture.width)
    return attach_parameters(model, request, images, "img2img", picture)
