r"""Latents for the diffusion stage: the frozen autoencoder encodes every scene once.

Maps       Autoencoder, scenes  ->  mean and std [n z h w], and the scale for unit variance
           Autoencoder, scenes, random masks  ->  cells [n 1 h w], visible parts [n z h w]
Paper      Rombach et al. 2022, arXiv:2112.10752, appendix G (the scale)
Tests      tests/training/test_latents.py
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.autoencoder import Autoencoder
from labml_sd.images.tensors import latent_mask
from labml_sd.pipeline.inpainting_model import hidden
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import image_batch
from labml_sd.training.masks import random_mask
from labml_sd.training.state_files import read_file, write_file
from labml_sd.utilities.device import autocast

CHUNK = 32  # scenes encoded at a time


@dataclass(frozen=True)
class LatentSet:
    """Posteriors of scenes 0..n-1 of a seed, in float16, not yet scaled."""

    mean: Float[Tensor, "n z h w"]
    std: Float[Tensor, "n z h w"]

    @property
    def scale_factor(self) -> float:
        r"""$s = 1 / \mathrm{std}(z)$ over all numbers of all latents drawn from the posteriors.

        The variance of draws is $\mathbb{E}[\mu^2] + \mathbb{E}[\sigma^2] - \mathbb{E}[\mu]^2$.
        """
        second_moment = self.mean.double().square().mean() + self.std.double().square().mean()
        return float(1.0 / (second_moment - self.mean.double().mean() ** 2).sqrt())


@dataclass(frozen=True)
class MaskedSet:
    """For scenes 0..n-1 a random mask each, and the latent of what it leaves visible.

    `cells` is 1 where a cell has a hidden pixel; `visible` the mean of the posterior, unscaled.
    """

    cells: Float[Tensor, "n 1 h w"]
    visible: Float[Tensor, "n z h w"]


def encode_scenes(
    autoencoder: Autoencoder,
    seed: int,
    n: int,
    size: int,
    folder: Path,
    *,
    progress: bool = True,
) -> LatentSet:
    """Encode scenes 0..n-1 of a seed, or read what an earlier call wrote into `folder`."""

    def encode(scenes: list[Scene]) -> dict[str, Tensor]:
        images = image_batch(scenes, size).to(device_of(autoencoder))
        posterior = autoencoder.posterior(images)
        return {"mean": posterior.mean, "std": posterior.std}

    path = folder / f"latents-{fingerprint(autoencoder, seed, n)}.pt"
    return LatentSet(**encoded(encode, autoencoder, seed, n, path, progress=progress))


def encode_masked(
    autoencoder: Autoencoder,
    seed: int,
    n: int,
    size: int,
    folder: Path,
    *,
    progress: bool = True,
) -> MaskedSet:
    """Hide a part of scenes 0..n-1 and encode the rest, or read what an earlier call wrote."""
    factor = autoencoder.config.downsampling_factor

    def encode(scenes: list[Scene]) -> dict[str, Tensor]:
        masks = torch.cat([random_mask(scene, 0, size) for scene in scenes])
        images = hidden(image_batch(scenes, size), masks).to(device_of(autoencoder))
        cells = torch.cat([latent_mask(mask[None], factor) for mask in masks])
        return {"cells": cells, "visible": autoencoder.posterior(images).mean}

    some = [random_mask(Scene.sample(seed, i), 0, size) for i in range(min(n, CHUNK))]
    path = folder / f"masked-{fingerprint(autoencoder, seed, n, *some)}.pt"
    return MaskedSet(**encoded(encode, autoencoder, seed, n, path, progress=progress))


def encoded(
    encode: Callable[[list[Scene]], dict[str, Tensor]],
    autoencoder: Autoencoder,
    seed: int,
    n: int,
    path: Path,
    *,
    progress: bool,
) -> dict[str, Tensor]:
    """The results of `encode` for scenes 0..n-1 in float16, from `path` if it is there."""
    if path.exists():
        stored: dict[str, Tensor] = read_file(path)
        return stored
    parts = defaultdict[str, list[Tensor]](list)
    starts = tqdm(range(0, n, CHUNK), desc="latents", disable=not progress, dynamic_ncols=True)
    with torch.inference_mode(), autocast(device_of(autoencoder)):
        for start in starts:
            scenes = [Scene.sample(seed, i) for i in range(start, min(n, start + CHUNK))]
            for name, values in encode(scenes).items():
                parts[name].append(values.half().cpu())
    result = {name: torch.cat(chunks) for name, chunks in parts.items()}
    write_file(result, path)
    return result


def device_of(autoencoder: Autoencoder) -> torch.device:
    """Where its weights are."""
    return next(autoencoder.parameters()).device


def fingerprint(
    autoencoder: Autoencoder, seed: int, n: int, *masks: Float[Tensor, "1 1 H W"]
) -> str:
    """Identifies the latents of n scenes: a hash of the seed, n and the encoder's weights.

    `masks` are some of those that hide parts of the scenes: another rule gives others.
    """
    digest = hashlib.sha256(f"{seed}/{n}".encode())
    weights = *autoencoder.encoder.parameters(), *autoencoder.quant_conv.parameters()
    for tensor in (*weights, *masks):
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]
