r"""Random masks for training in-painting: what is white is to be drawn from the caption.

Maps       scene, number  ->  mask [1 1 H W], 1 where the picture is hidden
Reference  Stable Diffusion v1.5 inpainting, model card: synthetic masks, 25% hide everything
           Suvorov et al. 2022, arXiv:2109.07161, section 2.3 (boxes and thick strokes)
Tests      tests/training/test_masks.py
"""

import random
from dataclasses import replace

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from labml_sd.images.tensors import mask_to_tensor
from labml_sd.tiny.drawing import changed_box
from labml_sd.tiny.scenes import COLOURS, ON_LAND, Scene, SceneObject

EVERYTHING, HALF, BOXES = 0.25, 0.5, 0.85  # cumulative shares; the rest are strokes
N_CORNERS = 5  # of a stroke
MARGIN = 0.1  # of the size of the picture: the widest at a side of a box


def random_mask(scene: Scene, number: int, size: int) -> Float[Tensor, "1 1 H W"]:
    """Mask `number` of a scene of `size` x `size` pixels: always the same for the same number.

    It hides everything, half of the picture, boxes, or strokes. Boxes hide an object, strokes
    most of it, so that the caption says what to draw; in an empty scene, anything. Many boxes
    are tight: they show the network where the object stands. Shadows may stay visible.
    """
    rng = random.Random(f"mask {scene.jitter} {number}")
    kind, mask = rng.random(), Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    if kind < EVERYTHING:
        return torch.ones(1, 1, size, size)
    if kind < HALF:
        pen.rectangle(_half(rng, size), fill=255)
        return mask_to_tensor(mask)
    boxes = [_around(scene, item, rng, size) for item in scene.objects]
    boxes = boxes or [_anywhere(rng, size)]
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


def _anywhere(rng: random.Random, size: int) -> tuple[int, int, int, int]:
    ends = (0.2, 0.8), (0.2, 0.8), (0.1, 0.25)
    x, y, half = (round(size * rng.uniform(*both)) for both in ends)
    return (x - half, y - half, x + half, y + half)


def _around(
    scene: Scene, item: SceneObject, rng: random.Random, size: int
) -> tuple[int, int, int, int]:
    """The box around the pixels that change when another object takes the place of `item`.

    A balloon becomes one of another colour, with the same basket.
    """
    others = [kind for kind in ON_LAND if kind != item.kind]
    kinds = others if item.kind in ON_LAND else [item.kind]
    colours = [colour for colour in COLOURS if colour != item.colour]
    other = replace(item, kind=rng.choice(kinds), colour=rng.choice(colours))
    objects = tuple(other if one is item else one for one in scene.objects)
    return changed_box(scene, replace(scene, objects=objects), size)


def _moved(box: tuple[int, int, int, int], rng: random.Random, size: int) -> list[float]:
    """Each side moved outwards by a random margin, often a small one."""
    out = [MARGIN * size * rng.random() ** 2 for _ in box]
    left, top, right, bottom = box
    return [left - out[0], top - out[1], right + out[2], bottom + out[3]]


def _stroke(pen: ImageDraw.ImageDraw, box: list[float], rng: random.Random) -> None:
    """An oval that fills the box, and in it a thick line of a few corners."""
    left, top, right, bottom = box
    width = round(0.5 * min(right - left, bottom - top))
    corners = [(rng.uniform(left, right), rng.uniform(top, bottom)) for _ in range(N_CORNERS)]
    pen.line(corners, fill=255, width=width, joint="curve")
    pen.ellipse((left, top, right, bottom), fill=255)
