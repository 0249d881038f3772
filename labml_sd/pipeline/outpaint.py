r"""Out-painting: a picture is continued beyond its borders.

Maps       model, prompt, image, pixels on each side -> list of larger PIL images
Tests      tests/pipeline/test_outpaint.py
"""

from collections.abc import Callable, Sequence
from typing import SupportsFloat, Unpack

from PIL import Image

from labml_sd.errors import GenerationError, quoted
from labml_sd.images.fill import extended
from labml_sd.images.reading import MAX_PIXELS, PathLike
from labml_sd.images.tensors import open_image
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.inpaint import inpaint
from labml_sd.sampler import Step
from labml_sd.settings import SettingsDict, takes_settings
from labml_sd.utilities.numbers import whole_number


@takes_settings
def outpaint(
    model: LatentDiffusion,
    prompt: str | Sequence[str],
    image: PathLike | Image.Image,
    *,
    left: int = 0,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    strength: SupportsFloat = 1.0,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
    **settings: Unpack[SettingsDict],
) -> list[Image.Image]:
    """Continue a picture beyond its borders, by so many pixels on each side.

    The new part is in-painted, from the colours of the border next to it at a `strength` below
    1; the pixels of `image` are kept exactly. The rest is as in `inpaint`. Raises `ImageError`,
    `PromptError` and `GenerationError`.
    """
    canvas, mask = larger_canvas(image, left, top, right, bottom)
    return inpaint(
        model,
        prompt,
        canvas,
        mask,
        strength=strength,
        on_step=on_step,
        progress=progress,
        **settings,
    )


def larger_canvas(
    image: PathLike | Image.Image, left: int, top: int, right: int, bottom: int
) -> tuple[Image.Image, Image.Image]:
    """The picture with so many pixels more on each side, and a mask of what is new.

    Raises `ImageError`, and `GenerationError` unless the sides are numbers of pixels.
    """
    sides = (left, top, right, bottom)
    numbers = [whole_number(side) for side in sides]
    if not all(n is not None and n >= 0 for n in numbers) or not any(numbers):
        raise GenerationError(
            f"left, top, right, bottom are {quoted(sides)}: give numbers of pixels, one above 0"
        )
    picture = open_image(image)
    size = (left + picture.width + right, top + picture.height + bottom)
    if size[0] * size[1] > MAX_PIXELS:
        raise GenerationError(
            f"size {size[0]}x{size[1]} is too large: at most {MAX_PIXELS:,} pixels can be drawn"
        )
    return extended(picture, left, top, right, bottom)
