r"""An image tower for a finished model: its text transformer stays as it is.

Maps       scenes, the vectors of their captions  ->  ImageTower
Paper      Radford et al. 2021, arXiv:2103.00020, figure 3
           Zhai et al. 2022, arXiv:2111.07991, section 3 (one tower frozen)
Tests      tests/training/tasks/test_image_tower.py

The frozen text transformer reads each caption once, before training; a step then costs little
more than drawing its pictures. Each time a scene is seen, it is drawn with other positions.
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.interrogator.image_tower import ImageTower, ImageTowerConfig
from labml_sd.interrogator.tower_file import save_tower
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.augment import augment
from labml_sd.training.captions import caption_vectors
from labml_sd.training.data import generator, image_batch
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_heat
from labml_sd.training.tasks.clip import contrastive_loss
from labml_sd.utilities.device import autocast

N_SHOWN = 32  # captions and pictures in the sample


def candidates_loss(
    logits: Float[Tensor, "b n"], truth: Int[Tensor, " b"]
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the right one, $t_i$, of all full captions of the batch.

    $$ L = -\frac{1}{b} \sum_i \log \frac{e^{S_{i, t_i}}}{\sum_j e^{S_{ij}}} $$

    Among them are those of the scenes that are one change away from scene i.
    """
    return F.cross_entropy(logits, truth)


class ImageTowerTask:
    """Match pictures with the captions that the text transformer has read."""

    name = "image_tower"

    def __init__(
        self,
        recipe: Recipe,
        model: LatentDiffusion,
        folder: Path,
        n_scenes: int,
        seed: int,
        device: torch.device,
        processes: Processes = ALONE,
        progress: bool = True,
    ) -> None:
        """Read the captions of `n_scenes` scenes, or those that `folder` has of them."""
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe.image_tower, seed, device
        self.size, self.processes, self.text = (
            model.config.image_size,
            processes,
            model.text_encoder,
        )
        n = self.recipe.n_negatives
        with processes.main_first():
            self.vectors = caption_vectors(
                self.text, seed, n_scenes, n, folder, progress=progress
            )
        width = model.config.text_encoder.d_model
        self.networks = ImageTower(ImageTowerConfig(d_text=width)).to(device)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The vectors [b k d] of the captions of scenes, and their pictures [b 3 h w]."""
        n = self.processes.count * self.recipe.batch_size
        draw = generator(self.seed, step, "image_tower")
        rows = torch.randint(len(self.vectors), (n,), generator=draw)
        jitter = torch.randint(2**31, (n,), generator=draw)
        scenes = [
            replace(Scene.sample(self.seed, row), jitter=number)
            for row, number in zip(rows.tolist(), jitter.tolist(), strict=True)
        ]
        drawn = image_batch(self.processes.share(scenes), self.size)
        vectors = self.processes.share(self.vectors[rows]).float()
        return vectors.to(self.device), augment(drawn, draw).to(self.device)

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """The loss; the shares of pictures whose captions, partial and full, are found."""
        tower, processes = self.networks, self.processes
        vectors, images = self.batch(step)
        with autocast(self.device):
            pictures = processes.gather(tower.embed_image(images).float())
            partial = processes.gather(tower.embed_text(vectors[:, 0]).float())
            full = processes.gather(tower.embed_text(vectors[:, 1:].flatten(0, 1)).float())
        logits = tower.scale * partial @ pictures.T
        candidates = tower.scale * pictures @ full.T
        diagonal, k = torch.arange(len(pictures), device=self.device), vectors.shape[1] - 1
        return {
            "loss": contrastive_loss(logits) + candidates_loss(candidates, k * diagonal),
            "accuracy": (logits.argmax(dim=1) == diagonal).float().mean(),
            "full": (candidates.argmax(dim=1) == k * diagonal).float().mean(),
        }

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Cosines of 32 scenes and their full captions: the diagonal should be brightest."""
        assert isinstance(networks, ImageTower)
        n = min(N_SHOWN, len(self.vectors))
        images = image_batch([Scene.sample(self.seed, i) for i in range(n)], self.size)
        with torch.no_grad(), autocast(self.device):
            pictures = networks.eval().embed_image(images.to(self.device))
            captions = networks.embed_text(self.vectors[:n, 1].float().to(self.device))
        save_heat(captions.float() @ pictures.float().T, path)

    def write(self, trained: nn.Module, path: Path) -> None:
        """Write the file that `load_tower` reads. Raises CheckpointError."""
        assert isinstance(trained, ImageTower)
        save_tower(trained, self.text.transformer, path)
