r"""Text to image: pure noise becomes a picture of the prompt.

Maps       model, prompt -> list of PIL images
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3
Tests      tests/pipeline/test_txt2img.py
"""

from collections.abc import Callable, Sequence
from typing import Unpack

import torch
from PIL import Image

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.binding import denoiser_for, running
from labml_sd.pipeline.inpainting_model import channels_for_nothing
from labml_sd.pipeline.latents import decode, noise_source
from labml_sd.pipeline.memory import memory_errors_explained
from labml_sd.pipeline.parameters import attach_parameters
from labml_sd.pipeline.request import check_call, check_size, make_request
from labml_sd.sampler import Step, sample
from labml_sd.settings import SettingsDict, takes_settings


@takes_settings
@torch.no_grad()
def txt2img(
    model: LatentDiffusion,
    prompt: str | Sequence[str],
    *,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
    **settings: Unpack[SettingsDict],
) -> list[Image.Image]:
    """Draw `n_images` pictures of every prompt.

    Sizes and guidance scale are the model's own if left out. `guidance_interval`, two noise
    levels sigma with the lower first, guides between them only; a run of SD goes from 14.6 to
    0.03. `guidance_rescale`, from 0 to 1, corrects the contrast of a large scale.

    Picture `i` of the call uses `seed + i` and depends on nothing else; `seed=None` draws a
    seed. With a `variation_strength` above 0 all pictures use `seed`, and the first noise of
    picture `i` is moved by that share towards the noise of `variation_seed + i`. `noise="cuda"`
    takes the random numbers of an NVIDIA GPU.

    `compat` ("compvis", "labml", "diffusers" or "a1111") runs the named sampler over the noise
    levels of that tool, which may be another number of steps than `steps`; the sampler must
    then be a name.

    All settings are stored in each picture. `on_step` sees every step; raising from it ends the
    run. Raises `PromptError` and `GenerationError`.
    """
    check_call(model, on_step, progress)
    request = make_request(model, prompt, settings)
    height, width = check_size(model.config, request.settings)
    factor = model.config.autoencoder.downsampling_factor
    with (
        memory_errors_explained(len(request.seeds), width, height),
        running(model) as network,
    ):
        n = len(request.seeds)
        channels = channels_for_nothing(model, network, height, width, n)
        denoise = denoiser_for(network, request, channels)
        draw = noise_source(model, request, height // factor, width // factor).draw
        x = request.noise_scale * draw()  # [b z h w]: pure noise
        z = sample(
            request.sampler,
            denoise,
            x,
            request.levels,
            draw=draw,
            on_step=on_step,
            progress=progress,
        )
        images = decode(model, network, z, height, width)
    return attach_parameters(model, request, images, "txt2img")
