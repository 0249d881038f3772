r"""A folder of pictures as training data: squares of the model's size, and their latents.

Maps       a folder  ->  paths  ->  images [n 3 s s] in [-1, 1]  ->  mean and std [n z h w]
Reference  diffusers examples/textual_inversion/textual_inversion.py (centre crop, mirror)
Tests      tests/training/test_pictures.py
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from labml_sd.autoencoder import Autoencoder
from labml_sd.errors import ImageError
from labml_sd.images.reading import open_image
from labml_sd.images.tensors import to_tensor
from labml_sd.training.latents import LatentSet, device_of
from labml_sd.utilities.device import autocast

CHUNK = 4  # pictures encoded at a time
_OURS = {".png", ".jpg", ".jpeg", ".webp"}  # read with this package's checks


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name. Raises ImageError if there are none."""
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; give a folder of pictures")
    known = Image.registered_extensions()
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in known and p.is_file())
    if not found:
        raise ImageError(f"{folder}: no pictures in it; expected .png or .jpg files, say")
    return found


def square(path: Path, size: int) -> Image.Image:
    """The largest square in the middle of a picture, resized to `size` pixels a side.

    Any format that Pillow reads. Raises ImageError for a damaged file.
    """
    if path.suffix.lower() in _OURS:
        return ImageOps.fit(open_image(path), (size, size), Image.Resampling.LANCZOS)
    try:
        with Image.open(path) as image:
            opened = open_image(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error
    return ImageOps.fit(opened, (size, size), Image.Resampling.LANCZOS)


def square_batch(paths: Sequence[Path], size: int) -> Float[Tensor, "n 3 s s"]:
    """Squares of pictures, in [-1, 1]."""
    return torch.cat([to_tensor(square(path, size)) for path in paths])


def encode_pictures(
    autoencoder: Autoencoder, images: Float[Tensor, "n 3 s s"], *, mirror: bool
) -> LatentSet:
    """The posteriors of pictures; with `mirror` also of their mirror images, 2n in all."""
    if mirror:
        images = torch.cat([images, images.flip(-1)])
    device, means, stds = device_of(autoencoder), [], []
    with torch.inference_mode(), autocast(device):
        for chunk in torch.split(images, CHUNK):
            posterior = autoencoder.posterior(chunk.to(device))
            means.append(posterior.mean.float().cpu())
            stds.append(posterior.std.float().cpu())
    return LatentSet(torch.cat(means).clone(), torch.cat(stds).clone())
