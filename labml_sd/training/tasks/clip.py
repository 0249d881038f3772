r"""Stage 3: a small CLIP learns which caption belongs to which picture.

Maps       scenes and captions  ->  CLIPTextTransformer, ImageTower
Paper      Radford et al. 2021, arXiv:2103.00020, figure 3
Tests      tests/training/tasks/test_clip.py

The trained text transformer is the text encoder of the tiny model.
"""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.config import TextEncoderConfig
from labml_sd.interrogator.image_tower import cosine_scale
from labml_sd.text_encoder import CLIPTextTransformer, tokenize, trimmed
from labml_sd.tiny.hard_negatives import hard_negatives
from labml_sd.tiny.recipe import ClipRecipe, Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import image_batch, scene_batch
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_heat
from labml_sd.utilities.device import autocast


class ImageTower(nn.Module):
    """Strided convolutions and a linear layer over the flattened map, which keeps positions."""

    def __init__(self, channels: int, d_embed: int) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels, 4 * channels]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        layers.append(nn.Conv2d(widths[-1], channels, 3, padding=1))
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.LazyLinear(d_embed)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Half the resolution is enough for everything that a caption names."""
        features = self.convolutions(F.avg_pool2d(image, 2))  # [b c h/32 w/32]
        return self.project(rearrange(features, "b c h w -> b (c h w)"))


class Clip(nn.Module):
    """Text tower with its projection, image tower, and the temperature of the softmax."""

    def __init__(self, text: TextEncoderConfig, recipe: ClipRecipe, image_size: int) -> None:
        super().__init__()
        self.text = CLIPTextTransformer(text)
        self.text_projection = nn.Linear(text.d_model, recipe.d_embed, bias=False)
        self.image = ImageTower(recipe.image_channels, recipe.d_embed)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # section 2.5
        self.image(torch.zeros(1, 3, image_size, image_size))  # sets the lazy layer's width
        # Small, as in CLIP: with PyTorch's variance of 1 the layers add too little.
        nn.init.normal_(self.text.embeddings.token_embedding.weight, std=0.02)
        nn.init.normal_(self.text.embeddings.position_embedding.weight, std=0.01)

    def embed_text(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Unit vectors of captions, close to the unit vectors of pictures they describe."""
        return F.normalize(self.text_projection(self.text.pooled(ids)), dim=-1)

    def embed_image(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of pictures, in the same space."""
        return F.normalize(self.image(image), dim=-1)

    def logits(
        self, text: Float[Tensor, "*b d"], image: Float[Tensor, "*c d"]
    ) -> Float[Tensor, "..."]:
        """Cosines times the scale."""
        return cosine_scale(self.logit_scale) * (text @ image.transpose(-1, -2))

    def forward(
        self, ids: Int[Tensor, "b n"], image: Float[Tensor, "c 3 h w"]
    ) -> Float[Tensor, "b c"]:
        """Row i, column j: how well caption i fits picture j."""
        return self.logits(self.embed_text(ids), self.embed_image(image))


def token_ids(
    tokenizer: Any, captions: list[str], text: TextEncoderConfig
) -> Int[Tensor, "b n"]:
    """Token ids of captions, up to the end of the longest."""
    ids = tokenize(
        tokenizer, captions,
        n_positions=text.n_positions, bos_id=text.bos_id, eos_id=text.eos_id,
    )  # fmt: skip
    return trimmed(ids, text.eos_id)


def contrastive_loss(logits: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    r"""Cross-entropy of picture given caption, and of caption given picture.

    $$ L = \tfrac{1}{2} \left( \mathrm{CE}(S, \mathrm{diag})
       + \mathrm{CE}(S^\top, \mathrm{diag}) \right) $$
    """
    truth = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth))


def hard_negative_loss(logits: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    r"""Cross-entropy of the right caption, in column 0, among hard negatives.

    $$ L = \mathrm{CE}(S, 0) $$
    """
    truth = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, truth)


class ClipTask:
    """Match scenes with captions, within a batch and among hard negatives of a caption."""

    name = "clip"

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: Any,
        seed: int,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.text = recipe.clip, recipe.model.text_encoder
        self.size, self.tokenizer = recipe.model.image_size, tokenizer
        self.seed, self.device, self.processes = seed, device, processes
        self.networks = Clip(self.text, self.recipe, self.size).to(device)

    def batch(
        self, seed: int, step: int, n: int, processes: Processes = ALONE
    ) -> tuple[Tensor, Tensor]:
        """Token ids of captions, and pictures. `wording` numbers the captions of a seed."""
        numbered = processes.share(list(enumerate(scene_batch(seed, step, n), start=step * n)))
        captions = [scene.caption(seed=wording) for wording, scene in numbered]
        images = image_batch([scene for _, scene in numbered], self.size)
        ids = token_ids(self.tokenizer, captions, self.text)
        return ids.to(self.device), images.to(self.device)

    def hard_captions(self, step: int) -> tuple[list[int], list[str]]:
        """Rows of the batch whose scenes get hard negatives, and the captions of each.

        These are its full caption, then those of its hard negatives, in one wording.
        """
        recipe, processes = self.recipe, self.processes
        n, n_hard = (processes.count * k for k in (recipe.batch_size, recipe.n_hard_scenes))
        rows, captions = processes.share(list(range(min(n, n_hard)))), []
        for index in (step * n + row for row in rows):
            scene = Scene.sample(self.seed, index)
            rng = random.Random(f"near {self.seed} {index}")
            scenes = [scene, *hard_negatives(scene, recipe.n_hard_negatives, rng)]
            captions += [one.caption(seed=index, full=True) for one in scenes]
        return rows, captions

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """The loss; the shares of right captions in the batch and among hard negatives."""
        clip, processes = self.networks, self.processes
        n = processes.count * self.recipe.batch_size
        ids, images = self.batch(self.seed, step, n, processes)
        rows, captions = self.hard_captions(step)
        hard = token_ids(self.tokenizer, captions, self.text).to(self.device)
        with autocast(self.device):
            pictures = processes.gather(clip.embed_image(images))
            logits = clip.logits(processes.gather(clip.embed_text(ids)), pictures).float()
            candidates = rearrange(clip.embed_text(hard), "(b n) d -> b n d", b=len(rows))
            hard_logits = clip.logits(candidates, pictures[rows, None]).float().squeeze(-1)
        right = logits.argmax(dim=1) == torch.arange(len(logits), device=self.device)
        hard_right = hard_logits.argmax(dim=1) == 0
        return {
            "loss": contrastive_loss(logits) + hard_negative_loss(hard_logits),
            "accuracy": right.float().mean(),
            "near": hard_right.float().mean(),  # the name in the curves of earlier checkpoints
        }

    def picture(self, networks: nn.Module, path: Path) -> None:
        """The logits of 32 new captions and pictures: the diagonal should be the brightest."""
        ids, images = self.batch(self.seed + 1, 0, 32)
        with torch.no_grad(), autocast(self.device):
            save_heat(networks.eval()(ids, images).float(), path)
