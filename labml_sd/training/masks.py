r"""Random masks for training in-painting: what is white is to be drawn from the caption.

Maps       scene, number  ->  mask [1 1 H W], 1 where the picture is hidden
Reference  Stable Diffusion v1.5 inpainting, model card: synthetic masks, 25% hide everything
           Suvorov et al. 2022, arXiv:2109.07161, section 2.3 (boxes and thick strokes)
Tests      tests/training/test_masks.py
"""

import random

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from labml_sd.images.tensors import mask_to_tensor
from labml_sd.tiny.drawing import object_boxes
from labml_sd.tiny.scenes import Scene

EVERYTHING, HALF, BOXES = 0.25, 0.5, 0.85  # cumulative shares; the rest are strokes
N_CORNERS = 5  # of a stroke


def random_mask(scene: Scene, number: int, size: int) -> Float[Tensor, "1 1 H W"]:
    """Mask `number` of a scene of `size` x `size` pixels: always the same for the same number.

    It hides everything, half of the picture, boxes, or strokes. Boxes hide all of one object,
    strokes most of it, so that the caption says what to draw; in an empty scene, anything.
    """
    rng = random.Random(f"mask {scene.jitter} {number}")
    kind, mask = rng.random(), Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    if kind < EVERYTHING:
        return torch.ones(1, 1, size, size)
    if kind < HALF:
        pen.rectangle(_half(rng, size), fill=255)
        return mask_to_tensor(mask)
    boxes = object_boxes(scene, size) or [_anywhere(rng, size)]
    for box in rng.sample(boxes, rng.randint(1, len(boxes))):
        moved = _moved(box, rng, size)
        if kind < BOXES:
            pen.rectangle(moved, fill=255)
        else:
            _stroke(pen, moved, rng)
    return mask_to_tensor(mask)


def _half(rng: random.Random, size: int) -> tuple[int, int, int, int]:
    """About a half at one of the four sides."""
    cut = round(size * rng.uniform(0.35, 0.65))
    left, upper = (0, 0, cut - 1, size - 1), (0, 0, size - 1, cut - 1)
    right, lower = (cut, 0, size - 1, size - 1), (0, cut, size - 1, size - 1)
    return rng.choice([left, right, upper, lower])


def _anywhere(rng: random.Random, size: int) -> tuple[float, float, float, float]:
    x, y, half = (size * rng.uniform(*ends) for ends in ((0.2, 0.8), (0.2, 0.8), (0.1, 0.25)))
    return (x - half, y - half, x + half, y + half)


def _moved(
    box: tuple[float, float, float, float], rng: random.Random, size: int
) -> list[float]:
    """Each side moved outwards by up to a tenth of the picture: what is asked for fits in."""
    out = [size * rng.uniform(0.0, 0.1) for _ in box]
    left, top, right, bottom = box
    return [left - out[0], top - out[1], right + out[2], bottom + out[3]]


def _stroke(pen: ImageDraw.ImageDraw, box: list[float], rng: random.Random) -> None:
    """An oval that fills the box, and in it a thick line of a few corners."""
    left, top, right, bottom = box
    width = round(0.5 * min(right - left, bottom - top))
    corners = [(rng.uniform(left, right), rng.uniform(top, bottom)) for _ in range(N_CORNERS)]
    pen.line(corners, fill=255, width=width, joint="curve")
    pen.ellipse((left, top, right, bottom), fill=255)
