r"""Pictures and tensors: values, sizes and blending.

Maps       a picture file or PIL image <-> image [b 3 H W] in [-1, 1]; a mask -> 8-bit grey
Tests      tests/images/test_tensors.py
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.errors import GenerationError, quoted
from labml_sd.images.reading import MAX_PIXELS, PathLike, open_image
from labml_sd.images.writing import save_images
from labml_sd.utilities.numbers import whole_number

__all__ = [
    "MAX_PIXELS",
    "blend_pixels",
    "crop",
    "latent_mask",
    "load_img",
    "mask_to_tensor",
    "open_image",
    "pad_to_multiple",
    "resize_to",
    "save_images",
    "to_pil",
    "to_tensor",
]


def load_img(
    source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS
) -> Float[Tensor, "1 3 H W"]:
    """Open a picture as float32 values in [-1, 1], at its own size. Raises `ImageError`."""
    return to_tensor(open_image(source, max_pixels=max_pixels))


def to_tensor(image: Image.Image) -> Float[Tensor, "1 3 H W"]:
    r"""$x = v / 127.5 - 1$ for the 8-bit values $v$ of an RGB picture, in float32."""
    values = torch.from_numpy(np.array(image.convert("RGB")))
    return values.permute(2, 0, 1)[None].to(torch.float32) / 127.5 - 1


def to_pil(images: Float[Tensor, "b 3 H W"], stage: str = "decode") -> list[Image.Image]:
    r"""$v = \mathrm{round}(127.5\,(x + 1))$, clamped to 0..255: the inverse of `to_tensor`.

    Truncation instead of rounding would darken every picture by half a level.
    Raises `GenerationError` naming `stage` when a value is NaN or infinite.
    """
    if not torch.isfinite(images).all():
        raise GenerationError(
            f'stage "{stage}" gave NaN or infinite pixels: run the model in float32 or bfloat16'
        )
    values = ((images.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(v) for v in values.permute(0, 2, 3, 1).cpu().numpy()]


def resize_to(image: Image.Image, height: int | None, width: int | None) -> Image.Image:
    """Resize to `height` x `width` pixels; with one side left out the proportions are kept.

    Pictures are filtered with Lanczos, grey masks linearly: Lanczos overshoots beside an edge
    and would put specks on the black.
    """
    if height is None and width is None:
        return image
    if width is None:
        width = max(1, round(image.width * _side("height", height) / image.height))
    if height is None:
        height = max(1, round(image.height * _side("width", width) / image.width))
    height, width = _side("height", height), _side("width", width)
    if height * width > MAX_PIXELS:
        raise GenerationError(
            f"size {width}x{height} is too large: at most {MAX_PIXELS:,} pixels can be drawn"
        )
    if image.size == (width, height):
        return image
    kernel = Image.Resampling.BILINEAR if image.mode == "L" else Image.Resampling.LANCZOS
    return image.resize((width, height), kernel)


def _side(name: str, pixels: object) -> int:
    whole = whole_number(pixels)
    if whole is None or not 1 <= whole <= MAX_PIXELS:
        limits = f"from 1 to {MAX_PIXELS:,}"
        raise GenerationError(
            f"{name} is {quoted(pixels)}: give a whole number of pixels, {limits}"
        )
    return whole


def pad_to_multiple(
    image: Float[Tensor, "b c H W"], multiple: int
) -> Float[Tensor, "b c H2 W2"]:
    """Mirror the right and bottom edge until both sides are multiples of `multiple`.

    A picture smaller than its padding is mirrored several times. `crop` removes the padding.
    """
    height, width = image.shape[-2:]
    rows = _mirrored(height, math.ceil(height / multiple) * multiple, image.device)
    columns = _mirrored(width, math.ceil(width / multiple) * multiple, image.device)
    return image[..., rows, :][..., columns]


def _mirrored(n: int, length: int, device: torch.device) -> Tensor:
    """`length` indices 0 1 2 ... n-1 n-2 ... 1 0 1 ...: the edge itself is not doubled."""
    period = max(1, 2 * (n - 1))
    i = torch.arange(length, device=device) % period
    return torch.minimum(i, period - i) if n > 1 else i


def crop(
    image: Float[Tensor, "b c H2 W2"], height: int, width: int
) -> Float[Tensor, "b c H W"]:
    """Take the top left `height` x `width` pixels."""
    return image[..., :height, :width]


def mask_to_tensor(mask: Image.Image) -> Float[Tensor, "1 1 H W"]:
    """Grey 0..255 becomes 0..1 in float32."""
    return torch.from_numpy(np.array(mask))[None, None].to(torch.float32) / 255


def latent_mask(mask: Float[Tensor, "1 1 H W"], factor: int) -> Float[Tensor, "1 1 h w"]:
    """1 for every latent cell that holds a pixel to repaint, however faint; otherwise 0."""
    return F.max_pool2d((mask > 0).to(torch.float32), factor)


def blend_pixels(kept: Image.Image, painted: Image.Image, mask: Image.Image) -> Image.Image:
    r"""$v = \mathrm{round}(((255 - m)\,v_{kept} + m\,v_{painted}) / 255)$ for the mask $m$.

    Where the mask is black, the kept pixels come back bit for bit.
    """
    m = np.asarray(mask).astype(np.int32)[:, :, None]
    old, new = (np.asarray(image).astype(np.int32) for image in (kept, painted))
    mixed = (255 - m) * old + m * new
    return Image.fromarray(((mixed + 127) // 255).astype(np.uint8))
