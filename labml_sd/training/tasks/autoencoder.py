r"""Stage 1: the autoencoder learns to compress a picture into a small latent and back.

Maps       scenes  ->  Autoencoder
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1; the KL weight: appendix G
Tests      tests/training/tasks/test_autoencoder.py
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder import Autoencoder
from labml_sd.tiny.recipe import AutoencoderRecipe, Recipe
from labml_sd.training.data import generator, image_batch, scene_batch
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_rows
from labml_sd.utilities.device import autocast

CROPS_PER_SCENE = 2  # drawing a scene costs as much as training on an eighth of it
CANDIDATES = 4  # random crops from which the one with the highest contrast is chosen


class AutoencoderTask:
    """Reconstruct scenes, or crops of them, through the autoencoder."""

    name = "autoencoder"

    def __init__(
        self, recipe: Recipe, seed: int, device: torch.device, processes: Processes = ALONE
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.size = recipe.autoencoder, recipe.model.image_size
        self.seed, self.device, self.processes = seed, device, processes
        self.autoencoder = Autoencoder(recipe.model.autoencoder).to(device)
        self.networks: nn.Module = self.autoencoder

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Crops, and at the end whole pictures: a quarter as many, so a step costs the same."""
        draw = generator(self.seed, step, "autoencoder")
        images = self._images(step, progress >= self.recipe.whole_from, draw).to(self.device)
        with autocast(self.device):
            posterior = self.autoencoder.posterior(images)
            mean, n = posterior.mean, self.processes.count * len(images)
            noise = self.processes.share(torch.randn(n, *mean.shape[1:], generator=draw))
            z = self.autoencoder.scaled(mean + posterior.std * noise.to(mean))
            decoded = self.autoencoder.decode(z).float()
        kl = posterior.kl().float().mean() / mean[0].numel()
        (mse,) = self.processes.mean([F.mse_loss(decoded.detach(), images)])
        return {
            "loss": autoencoder_loss(images, decoded, kl, self.recipe),
            "psnr": psnr(mse),
            "kl": kl,
        }

    def _images(self, step: int, whole: bool, draw: Generator) -> Float[Tensor, "b 3 h w"]:
        """This process's share of the whole pictures, or of two crops of each."""
        recipe, processes = self.recipe, self.processes
        divisor = 4 if whole else CROPS_PER_SCENE
        n_scenes = processes.count * max(1, recipe.batch_size // divisor)
        scenes = scene_batch(self.seed, step, n_scenes, recipe.night_scenes)
        images = image_batch(processes.share(scenes), self.size)
        if whole:
            return images
        largest = self.size - recipe.crop
        n, busy = n_scenes * CROPS_PER_SCENE, recipe.busy_crops
        corners = processes.share([draw_corners(largest, busy, draw) for _ in range(n)])
        pairs = zip(images.repeat_interleave(CROPS_PER_SCENE, dim=0), corners, strict=True)
        return torch.stack([crop(image, some, recipe.crop) for image, some in pairs])

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Six pictures, and below them their reconstructions."""
        images = image_batch(scene_batch(self.seed + 1, 0, 6), self.size).to(self.device)
        with torch.no_grad(), autocast(self.device):
            decoded = networks.eval()(images).float()
        save_rows([images, decoded], path)


def autoencoder_loss(
    images: Float[Tensor, "b c h w"],
    decoded: Float[Tensor, "b c h w"],
    kl: Float[Tensor, ""],
    recipe: AutoencoderRecipe,
) -> Float[Tensor, ""]:
    r"""Reconstruction error, error of the edges, and a small KL divergence.

    $$ L = |x - \hat x| + w_e |\nabla x - \nabla \hat x| + w_m (x - \hat x)^2
       + w_k\,\mathrm{KL} $$

    Each term is a mean over its numbers; KL is in nats per latent number.
    """
    l1, mse = (images - decoded).abs().mean(), F.mse_loss(decoded, images)
    edges = recipe.edge_weight * edge_error(images, decoded)
    return l1 + edges + recipe.mse_weight * mse + recipe.kl_weight * kl


def draw_corners(largest: int, busy: float, draw: Generator) -> list[list[int]]:
    """A random corner [y, x] from 0 to `largest`, with probability `busy` `CANDIDATES` ones."""
    corners = torch.randint(0, largest + 1, (CANDIDATES, 2), generator=draw).tolist()
    return corners if torch.rand((), generator=draw).item() < busy else corners[:1]


def crop(
    image: Float[Tensor, "c h w"], corners: list[list[int]], size: int
) -> Float[Tensor, "c s s"]:
    """Of the squares at these corners the one with the largest deviation."""
    crops = [image[:, y : y + size, x : x + size] for y, x in corners]
    return max(crops, key=lambda part: float(part.std()))


def edge_error(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean absolute error of the differences between neighbours, horizontal plus vertical."""
    difference = x - y
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def psnr(mse: Float[Tensor, ""]) -> Float[Tensor, ""]:
    r"""Peak signal-to-noise ratio in dB, $10 \log_{10}(2^2 / \mathrm{mse})$, for [-1, 1]."""
    return 10.0 * torch.log10(4.0 / mse)
