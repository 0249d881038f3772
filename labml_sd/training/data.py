r"""Batches as a pure function of (seed, step), so that a resumed run sees the same data.

Maps       (seed, step)  ->  images [b 3 H W] in [-1, 1], scenes, generators
Tests      tests/training/test_data.py
"""

import hashlib
from collections.abc import Sequence

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


def scene_batch(seed: int, step: int, batch_size: int) -> list[Scene]:
    """The scenes of one step: item k of step s is scene number s * batch_size + k."""
    return [Scene.sample(seed, step * batch_size + k) for k in range(batch_size)]


def image_batch(scenes: Sequence[Scene], size: int) -> Float[Tensor, "b 3 h w"]:
    """The pictures of scenes, in [-1, 1]."""
    return torch.stack([to_tensor(draw_scene(scene, size))[0] for scene in scenes])
