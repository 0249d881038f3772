r"""Stage 1: the autoencoder learns to keep a picture in a sixteenth of a sixteenth of its pixels.

Maps       scenes  ->  Autoencoder, and the measured scale of its latents
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1; the KL weight: appendix G
Tests      tests/training/tasks/test_autoencoder.py
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder import Autoencoder
from labml_sd.tiny.recipe import AutoencoderRecipe, Recipe
from labml_sd.training.data import generator, image_batch, scene_batch
from labml_sd.training.image_grid import save_rows
from labml_sd.training.precision import autocast
from labml_sd.training.processes import ALONE, Processes

CROPS_PER_SCENE = 2  # drawing a scene costs as much as learning from an eighth of it
CANDIDATES = 4  # random crops among which a busy one is chosen


class AutoencoderTask:
    """The loss of one step: scenes against their round trip."""

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
        """Crops first, whole pictures at the end (a quarter as many, so a step costs the same)."""
        draw = generator(self.seed, step, "autoencoder")
        images = self._images(step, progress >= self.recipe.whole_from, draw).to(self.device)
        with autocast(self.device):
            posterior = self.autoencoder.posterior(images)
            noise = self.processes.randn(posterior.mean.shape, draw).to(posterior.mean)
            z = self.autoencoder.scaled(posterior.mean + posterior.std * noise)
            decoded = self.autoencoder.decode(z).float()
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        (mse,) = self.processes.mean([F.mse_loss(decoded.detach(), images)])
        return {
            "loss": autoencoder_loss(images, decoded, kl, self.recipe),
            "psnr": psnr(mse),
            "kl": kl,
        }

    def _images(self, step: int, whole: bool, draw: Generator) -> Float[Tensor, "b 3 h w"]:
        """This process's share of the pictures, or of two crops of each."""
        recipe, processes = self.recipe, self.processes
        n_scenes = processes.count * max(
            1, recipe.batch_size // (4 if whole else CROPS_PER_SCENE)
        )
        images = image_batch(processes.share(scene_batch(self.seed, step, n_scenes)), self.size)
        if whole:
            return images
        room = self.size - recipe.crop
        cuts = [
            draw_cut(room, recipe.busy_crops, draw) for _ in range(n_scenes * CROPS_PER_SCENE)
        ]
        twice = images.repeat_interleave(CROPS_PER_SCENE, dim=0)
        return torch.stack(
            [
                crop(*pair, recipe.crop)
                for pair in zip(twice, processes.share(cuts), strict=True)
            ]
        )

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Six pictures over their round trips."""
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
    r"""Reconstruction, outlines, and a light pull towards the standard normal.

    $$ L = |x - \hat x| + w_e |\nabla x - \nabla \hat x| + w_m (x - \hat x)^2 + w_k\,\mathrm{KL} $$

    Each term is a mean over its numbers; KL is in nats per latent number.
    """
    l1, mse = (images - decoded).abs().mean(), F.mse_loss(decoded, images)
    edges = recipe.edge_weight * edge_error(images, decoded)
    return l1 + edges + recipe.mse_weight * mse + recipe.kl_weight * kl


class Cut(NamedTuple):
    """Where a crop may be taken: the first corner, or, if `busy`, the one with the strongest contrast."""

    corners: list[list[int]]
    busy: bool


def draw_cut(room: int, busy: float, draw: Generator) -> Cut:
    """Random corners with coordinates in 0..room; busy with that probability."""
    corners = torch.randint(0, room + 1, (CANDIDATES, 2), generator=draw).tolist()
    return Cut(corners, torch.rand((), generator=draw).item() < busy)


def crop(image: Float[Tensor, "c h w"], cut: Cut, size: int) -> Float[Tensor, "c s s"]:
    """The square that a cut says."""
    crops = [image[:, y : y + size, x : x + size] for y, x in cut.corners]
    return max(crops, key=lambda part: float(part.std())) if cut.busy else crops[0]


def edge_error(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean absolute error of the differences between neighbours, across and down."""
    difference = x - y
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def psnr(mse: Float[Tensor, ""]) -> Float[Tensor, ""]:
    r"""Peak signal-to-noise ratio in dB, $10 \log_{10}(2^2 / \mathrm{mse})$: the range [-1, 1] is 2 wide."""
    return 10.0 * torch.log10(4.0 / mse)
