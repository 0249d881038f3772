r"""Pictures to be judged, a batch at a time: drawn by the model, or by code, and read by the probe.

Maps       prompts -> images [b 3 H W] in [-1, 1];  images -> scenes, features, CLIP directions
Tests      tests/evaluation/test_draw_and_read.py
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.evaluation.clip_score import ClipReader
from labml_sd.evaluation.probe import Probe, look
from labml_sd.images.tensors import to_pil, to_tensor
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import txt2img
from labml_sd.tiny.scenes import Scene, Split
from labml_sd.training.data import image_batch

GROUPS: dict[str, tuple[Split, int]] = {
    "one object": ("train", 1),
    "two objects": ("train", 2),
    "held-out pair": ("held_out", 1),
}
SEED = 1_000_003  # of the scenes that are asked for; no training uses it
BATCH = 64  # pictures drawn and read at a time

Told = Callable[[int], object]
"""Is told how many pictures more are done: the update of a progress bar."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to draw."""

    steps: int = 20
    sampler: str = "dpmpp_2m"
    guidance_scale: float | None = None  # None: the model's own
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] | None = None  # None: everywhere


@dataclass(frozen=True)
class Seen:
    """What was read off pictures."""

    scenes: list[Scene]
    features: Float[Tensor, "n d"]  # of the probe
    directions: Float[Tensor, "n e"] | None = None  # of CLIP's image tower


def scenes_of(seed: int, n: int, split: Split, n_objects: int) -> list[Scene]:
    """The first `n` scenes of a seed."""
    return [Scene.sample(seed, index, split, n_objects) for index in range(n)]


def rendered(scenes: Sequence[Scene], size: int) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """Scenes drawn by code."""
    for first in range(0, len(scenes), BATCH):
        yield image_batch(list(scenes[first : first + BATCH]), size)


def drawn(
    model: LatentDiffusion,
    prompts: Sequence[str],
    settings: Settings,
    *,
    negative_prompt: str = "",
    told: Told = lambda n: None,
) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """The model's pictures of prompts: picture i has seed i, whatever the batch. Raises GenerationError."""
    for first in range(0, len(prompts), BATCH):
        pictures = txt2img(
            model, list(prompts[first : first + BATCH]), negative_prompt=negative_prompt, seed=first,
            steps=settings.steps, sampler=settings.sampler, guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale, guidance_interval=settings.guidance_interval,
            progress=False,
        )  # fmt: skip
        told(len(pictures))
        yield as_images(pictures)


def as_images(pictures: Sequence[Image.Image]) -> Float[Tensor, "b 3 h w"]:
    """Pictures of one size as a batch."""
    return torch.cat([to_tensor(picture) for picture in pictures])


def eight_bit(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """As a user sees them: through a picture and back."""
    return as_images(to_pil(images))


def read(
    probe: Probe, batches: Iterable[Float[Tensor, "b 3 h w"]], clip: ClipReader | None = None
) -> Seen:
    """Read pictures, batch after batch, so that they need not all be held."""
    scenes: list[Scene] = []
    features, directions = [], []
    for images in batches:
        sight = look(probe, images)
        scenes += sight.scenes
        features.append(sight.features)
        if clip is not None:
            directions.append(clip.of_images(images))
    return Seen(scenes, torch.cat(features), torch.cat(directions) if directions else None)
