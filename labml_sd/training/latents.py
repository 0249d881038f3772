r"""Latents for the diffusion stage: the frozen autoencoder encodes every scene once.

Maps       Autoencoder, scenes  ->  mean and std [n z h w], and the scale for unit variance
Paper      Rombach et al. 2022, arXiv:2112.10752, appendix G (the scale)
Tests      tests/training/test_latents.py
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.autoencoder import Autoencoder
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import image_batch
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
    path = folder / f"latents-{fingerprint(autoencoder, seed, n)}.pt"
    if path.exists():
        return LatentSet(**read_file(path))
    device = next(autoencoder.parameters()).device
    means, stds = [], []
    starts = tqdm(range(0, n, CHUNK), desc="latents", disable=not progress, dynamic_ncols=True)
    with torch.inference_mode(), autocast(device):
        for start in starts:
            scenes = [Scene.sample(seed, i) for i in range(start, min(n, start + CHUNK))]
            posterior = autoencoder.posterior(image_batch(scenes, size).to(device))
            means.append(posterior.mean.half().cpu())
            stds.append(posterior.std.half().cpu())
    latents = LatentSet(torch.cat(means), torch.cat(stds))
    write_file(vars(latents), path)
    return latents


def fingerprint(autoencoder: Autoencoder, seed: int, n: int) -> str:
    """Identifies the latents of n scenes: a hash of the seed, n and the encoder's weights."""
    digest = hashlib.sha256(f"{seed}/{n}".encode())
    for weight in (*autoencoder.encoder.parameters(), *autoencoder.quant_conv.parameters()):
        digest.update(weight.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]
