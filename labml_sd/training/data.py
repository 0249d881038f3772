r"""Batches as a pure function of (seed, step), so that a resumed run sees the same data.

Maps       (seed, step)  ->  images [b 3 H W] in [-1, 1], scenes, generators
Tests      tests/training/test_data.py
"""

import hashlib
from collections.abc import Sequence
from itertools import count

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from labml_sd.images.tensors import to_tensor
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene


def generator(seed: int, step: int, stream: str) -> Generator:
    """An independent CPU generator for each seed, step and purpose (`stream`)."""
    digest = hashlib.sha256(f"{seed}/{step}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def scene_batch(seed: int, step: int, batch_size: int, night: float = 0.0) -> list[Scene]:
    """The scenes of one step: item k of step s is scene number s * batch_size + k.

    The share `night` of them, from 0 to 1, show a small object at night.
    """
    numbers = range(step * batch_size, (step + 1) * batch_size)
    n = round(night * batch_size)
    return [
        *(_small_at_night(seed, i) for i in numbers[:n]),
        *(Scene.sample(seed, i) for i in numbers[n:]),
    ]


def _small_at_night(seed: int, index: int) -> Scene:
    """One scene of the share `night`: the first that fits, of those after 2^20 * `index`."""
    scenes = (Scene.sample(seed, i) for i in count(2**20 * index))
    return next(
        scene
        for scene in scenes
        if scene.sky == "night" and any(item.size == "small" for item in scene.objects)
    )


def image_batch(scenes: Sequence[Scene], size: int) -> Float[Tensor, "b 3 h w"]:
    """The pictures of scenes, in [-1, 1]."""
    return torch.stack([to_tensor(draw_scene(scene, size))[0] for scene in scenes])
