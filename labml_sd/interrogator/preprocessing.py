r"""Pictures as CLIP and BLIP see them: resized, cut to a square, normalised.

Maps       a PIL image -> [1 3 s s], about 0 in the mean and 1 in the standard deviation
Paper      Radford et al. 2021, arXiv:2103.00020 (the code published with it)
Reference  transformers CLIPImageProcessor and BlipImageProcessor
Tests      tests/interrogator/test_preprocessing.py
"""

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.images.tensors import to_tensor

# Of the red, green and blue values in 0..1 of the pictures that CLIP was trained on.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 16  # of the shorter side: the ends of a longer picture are cut off before resizing


def clip_square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side becomes `size`, and the middle square is cut out: as CLIP has it."""
    short = min(image.size)
    part = middle(image, *(min(side, LONGEST * short) for side in image.size))
    width, height = (int(size * side / short) for side in part.size)
    resized = part.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return middle(resized, size, size)


def middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle part of a picture, which is at least as large."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def blip_square(image: Image.Image, size: int) -> Image.Image:
    """Squeezed to a square, whatever its proportions: as BLIP has it."""
    return image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)


def normalised(square: Image.Image) -> Float[Tensor, "1 3 s s"]:
    r"""$(v / 255 - \mu) / \sigma$ for the 8-bit values v of each colour."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((to_tensor(square) + 1) / 2 - mean) / std
