r"""In-painting: what is white in a mask is drawn again, what is black keeps its very bits.

Maps       model, prompt, image, mask -> list of PIL images of the image's size
Paper      Lugmayr et al. 2022 (RePaint), arXiv:2201.09865, section 4.1 (without resampling)
Tests      tests/pipeline/test_inpaint.py
"""

from collections.abc import Callable, Sequence
from typing import SupportsFloat, Unpack

import torch
from jaxtyping import Float
from PIL import Image, ImageFilter
from torch import Tensor

from labml_sd.images.area import Area
from labml_sd.images.fill import filled
from labml_sd.images.masks import load_mask
from labml_sd.images.reading import PathLike
from labml_sd.images.tensors import blend_pixels, open_image, resize_to
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.binding import denoiser_for, running
from labml_sd.pipeline.inpainting_model import channels_for
from labml_sd.pipeline.latents import cells_to_paint, decode, encode, noise_source
from labml_sd.pipeline.memory import memory_errors_explained
from labml_sd.pipeline.parameters import attach_parameters
from labml_sd.pipeline.request import Request, check_call, make_request
from labml_sd.sampler import Step, add_noise, inpaint_blend, sample
from labml_sd.settings import SettingsDict, takes_settings

OnStep = Callable[[Step], object] | None


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
    1 from the noised picture, with `fill` in the hole; 0 paints the autoencoder's round trip. A
    latent cell is painted where any of its pixels is. After every step the other cells are put
    back at the noise level just reached; an in-painting model, which sees the kept part, needs
    no such blend. `height` and `width` resize picture and mask first; the rest is as in
    `img2img`. Raises `ImageError`, `PromptError` and `GenerationError`.
    """
    check_call(model, on_step, progress)
    request = make_request(model, prompt, settings, strength=strength, task="inpaint")
    height, width = request.settings.height, request.settings.width
    opened = open_image(image)
    grey = resize_to(load_mask(mask, opened.size), height, width)
    picture = resize_to(opened, height, width)
    soft = grey.filter(ImageFilter.GaussianBlur(request.settings.mask_blur))
    area = _area(model, request, soft)
    with (
        memory_errors_explained(len(request.seeds), *area.size),
        running(model) as network,
    ):
        parts = area.cut(picture), area.cut(soft)
        painted = _painted(model, network, request, *parts, on_step, progress)
    whole = [area.put_back(each, picture) for each in painted]
    images = [blend_pixels(picture, each, soft) for each in whole]
    return attach_parameters(model, request, images, "inpaint", picture, grey)


def _area(model: LatentDiffusion, request: Request, mask: Image.Image) -> Area:
    """The whole picture, or with `only_masked` the part around the mask."""
    padding, config = request.settings.only_masked, model.config
    if padding is None:
        return Area((0, 0, *mask.size), mask.size)
    return Area.around(mask, padding, config.image_size, config.size_multiple)


def _painted(
    model: LatentDiffusion,
    network: LatentDiffusion,
    request: Request,
    picture: Image.Image,
    mask: Image.Image,
    on_step: OnStep,
    progress: bool,
) -> list[Image.Image]:
    """Pictures in which the mask is painted and the rest is as the autoencoder gives it."""
    n, fill = len(request.seeds), request.settings.fill
    begin = filled(picture, mask) if fill == "fill" else picture
    z = encode(model, network, begin, n)  # [b z h w]
    if request.strength > 0:
        noised_to, levels = request.start()
        channels = channels_for(model, network, picture, mask, n)
        denoise = denoiser_for(network, request, channels)
        draw = noise_source(model, request, z.shape[2], z.shape[3]).draw
        noise, cells = draw(), cells_to_paint(model, mask)
        pure = request.noise_scale * noise
        start = _with_hole(z, cells, noise, fill)
        x = pure if request.strength == 1 else add_noise(start, noise, noised_to)
        z = sample(
            request.sampler,
            denoise,
            x,
            levels,
            draw=draw,
            blend=inpaint_blend(z, noise, cells) if channels is None else None,
            on_step=on_step,
            progress=progress,
        )
    return decode(model, network, z, picture.height, picture.width)


def _with_hole(
    z: Float[Tensor, "b z h w"],
    cells: Float[Tensor, "1 1 h w"],
    noise: Float[Tensor, "b z h w"],
    fill: str,
) -> Float[Tensor, "b z h w"]:
    """The latent with noise, nothing, or what it has, in the cells to paint."""
    inside = {"noise": noise, "nothing": torch.zeros_like(z)}.get(fill, z)
    return torch.where(cells > 0, inside, z)
