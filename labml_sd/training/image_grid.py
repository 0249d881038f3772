r"""Image files that show the progress of a training run.

Maps       batches of images, or a matrix  ->  one PNG
Tests      tests/training/test_image_grid.py
"""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def save_rows(rows: list[Float[Tensor, "b 3 h w"]], path: Path) -> None:
    """Write batches in [-1, 1] as the rows of one image."""
    grid = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    pixels = ((grid.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(path)


def save_heat(matrix: Float[Tensor, "n m"], path: Path, cell: int = 8) -> None:
    """Write a matrix as grey squares of `cell` pixels, the largest value white."""
    low, high = matrix.min(), matrix.max()
    pixels = ((matrix - low) / (high - low) * 255.0).round().to(torch.uint8).cpu()
    enlarged = pixels.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    Image.fromarray(enlarged.numpy()).save(path)
