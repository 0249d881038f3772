r"""Generates pictures with the model, or draws scenes by code, and reads them with the probe.

Maps       prompts  ->  images [b 3 H W] in [-1, 1]
           images  ->  scenes, features, CLIP embeddings
Tests      tests/evaluation/test_draw_and_read.py
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.evaluation.clip_score import ClipScorer
from labml_sd.evaluation.probe import Probe, Readings, read_images
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
SEED = 1_000_003  # of the scenes that are asked for; not used in training
BATCH = 64  # pictures generated and read at a time

OnProgress = Callable[[int], object]
"""Called with the number of pictures just finished: the update of a progress bar."""


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings of the pipeline that an evaluation varies."""

    steps: int = 20
    sampler: str = "dpmpp_2m"
    guidance_scale: float | None = None  # None: the model's default
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] | None = None  # sigmas; None: at every step


def sample_scenes(seed: int, n: int, split: Split, n_objects: int) -> list[Scene]:
    """The first `n` scenes of a seed."""
    return [Scene.sample(seed, index, split, n_objects) for index in range(n)]


def draw_scenes(scenes: Sequence[Scene], size: int) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """Scenes drawn by code, in batches."""
    for first in range(0, len(scenes), BATCH):
        yield image_batch(list(scenes[first : first + BATCH]), size)


def generate(
    model: LatentDiffusion,
    prompts: Sequence[str],
    settings: SamplingSettings,
    *,
    negative_prompt: str = "",
    on_progress: OnProgress = lambda n: None,
) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """The model's pictures of prompts, in batches; picture i has seed i."""
    for first in range(0, len(prompts), BATCH):
        pictures = txt2img(
            model,
            list(prompts[first : first + BATCH]),
            negative_prompt=negative_prompt,
            seed=first,
            progress=False,
            **asdict(settings),
        )
        on_progress(len(pictures))
        yield as_images(pictures)


def as_images(pictures: Sequence[Image.Image]) -> Float[Tensor, "b 3 h w"]:
    """Pictures of one size as a batch in [-1, 1]."""
    return torch.cat([to_tensor(picture) for picture in pictures])


def eight_bit(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Images rounded to 8 bits, as a saved picture is."""
    return as_images(to_pil(images))


def read_batches(
    probe: Probe, batches: Iterable[Float[Tensor, "b 3 h w"]], clip: ClipScorer | None = None
) -> Readings:
    """Read pictures batch by batch, without holding all of them in memory."""
    scenes: list[Scene] = []
    features, embeddings = [], []
    for images in batches:
        readings = read_images(probe, images)
        scenes += readings.scenes
        features.append(readings.features)
        if clip is not None:
            embeddings.append(clip.embed_images(images))
    return Readings(scenes, torch.cat(features), torch.cat(embeddings) if embeddings else None)
