r"""Pictures get the parameters that draw them again.

Maps       PIL images, the call that drew them  ->  PIL images with two texts in `.info`
Tests      tests/pipeline/test_txt2img.py
"""

import hashlib
from collections.abc import Sequence

from PIL import Image

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.parameters import attach, parameters_of
from labml_sd.pipeline.request import Request


def attach_parameters(
    model: LatentDiffusion,
    request: Request,
    images: Sequence[Image.Image],
    task: str,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> list[Image.Image]:
    """Copies of the pictures of a call, each with its own parameters attached."""
    parameters = parameters_of(
        request,
        task=task,
        size=images[0].size,
        model=model.config.name,
        model_hash=model.weights_hash,
        dtype=str(model.dtype).removeprefix("torch."),
        init_image_sha256=None if init_image is None else pixels_sha256(init_image),
        mask_sha256=None if mask is None else pixels_sha256(mask),
    )
    return [attach(image, each) for image, each in zip(images, parameters, strict=True)]


def pixels_sha256(image: Image.Image) -> str:
    """64 hex digits that identify the pixels, their mode and size, not the file."""
    header = f"{image.mode} {image.width}x{image.height} "
    return hashlib.sha256(header.encode() + image.tobytes()).hexdigest()
