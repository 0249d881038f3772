r"""Generates pictures with the model, or draws scenes by code, and reads them with the probe.

Maps       prompts  ->  images [b 3 H W] in [-1, 1]
           images  ->  scenes, features, CLIP embeddings
Tests      tests/evaluation/test_draw_and_read.py
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.clip_score import ClipScorer
from labml_sd.evaluation.probe import Probe, Readings, read_images
from labml_sd.evaluation.results import RowCache
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


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings of the pipeline that an evaluation varies."""

    steps: int = 20
    sampler: str = "dpmpp_2m"
    guidance_scale: float | None = None  # None: the model's default
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] | None = None  # sigmas; None: at every step


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What every part of the evaluation needs."""

    model: LatentDiffusion
    probe: Probe
    settings: SamplingSettings
    n_prompts: int = 500  # for each group; expensive parts use a share of it
    clip: ClipScorer | None = None
    full_precision: bool = False  # no bfloat16 for sweeps and edits
    progress: bool = True
    rows: RowCache = field(default_factory=RowCache)  # rows of an unfinished part
    bar: Any = field(default_factory=lambda: tqdm(disable=True))  # of the part, in pictures

    @property
    def size(self) -> int:
        """Pixels a side of the model's pictures."""
        return self.model.config.image_size

    @property
    def guidance_scale(self) -> float:
        """The guidance scale of the settings, or else the model's default."""
        scale = self.settings.guidance_scale
        return self.model.config.guidance_scale if scale is None else scale

    def share(self, divisor: int, at_least: int = 1) -> int:
        """A share of `n_prompts`."""
        return max(at_least, self.n_prompts // divisor)

    def generate(
        self, prompts: Sequence[str], settings: SamplingSettings, negative_prompt: str = ""
    ) -> Iterator[Float[Tensor, "b 3 h w"]]:
        """The model's pictures of prompts, in batches; picture i has seed i."""
        for first in range(0, len(prompts), BATCH):
            pictures = txt2img(
                self.model,
                list(prompts[first : first + BATCH]),
                negative_prompt=negative_prompt,
                seed=first,
                progress=False,
                **asdict(settings),
            )
            self.bar.update(len(pictures))
            yield as_images(pictures)

    def read(
        self, batches: Iterable[Float[Tensor, "b 3 h w"]], clip: ClipScorer | None = None
    ) -> Readings:
        """Read pictures batch by batch, without holding all of them in memory."""
        scenes: list[Scene] = []
        features, embeddings = [], []
        for images in batches:
            readings = read_images(self.probe, images)
            scenes += readings.scenes
            features.append(readings.features)
            if clip is not None:
                embeddings.append(clip.embed_images(images))
        return Readings(scenes, torch.cat(features), torch.cat(embeddings) if clip else None)

    def draw(self, scenes: Sequence[Scene]) -> Iterator[Float[Tensor, "b 3 h w"]]:
        """Scenes drawn by code, in batches."""
        for first in range(0, len(scenes), BATCH):
            yield image_batch(scenes[first : first + BATCH], self.size)


def sample_scenes(seed: int, n: int, split: Split, n_objects: int) -> list[Scene]:
    """The first `n` scenes of a seed."""
    return [Scene.sample(seed, index, split, n_objects) for index in range(n)]


def mixed_scenes(n: int) -> list[Scene]:
    """`n` scenes: one object, two objects, a held-out pair, in turn."""
    groups = list(GROUPS.values())
    return [Scene.sample(SEED, index, *groups[index % len(groups)]) for index in range(n)]


def as_images(pictures: Sequence[Image.Image]) -> Float[Tensor, "b 3 h w"]:
    """Pictures of one size as a batch in [-1, 1]."""
    return torch.cat([to_tensor(picture) for picture in pictures])


def eight_bit(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Images rounded to 8 bits, as a saved picture is."""
    return as_images(to_pil(images))
