r"""Stage 3: a small CLIP learns which caption belongs to which picture. Its text half is then frozen.

Maps       scenes and captions  ->  CLIPTextTransformer, ImageTower
Paper      Radford et al. 2021, arXiv:2103.00020, figure 3
Tests      tests/training/tasks/test_clip.py
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
from labml_sd.text_encoder import CLIPTextTransformer, tokenize
from labml_sd.tiny.hard_negatives import near_misses
from labml_sd.tiny.recipe import ClipRecipe, Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import image_batch, scene_batch
from labml_sd.training.image_grid import save_heat
from labml_sd.training.precision import autocast
from labml_sd.training.processes import ALONE, Processes

MAX_LOGIT_SCALE = 100.0  # CLIP's own bound (section 2.5): a sharper softmax is unstable


class ImageTower(nn.Module):
    """Four strided convolutions and a linear layer. It flattens the last map, so it knows left from right."""

    def __init__(self, channels: int, d_embed: int) -> None:
        super().__init__()
        widths = [3, channels, 2 * channels, 4 * channels, 4 * channels]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.convolutions = nn.Sequential(
            *layers, nn.Conv2d(widths[-1], channels, 3, padding=1)
        )
        self.project = nn.LazyLinear(d_embed)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Halve the picture first: what a caption names is large enough."""
        features = self.convolutions(F.avg_pool2d(image, 2))
        return self.project(rearrange(features, "b c h w -> b (c h w)"))


class Clip(nn.Module):
    """Both towers, a projection for the text, and the temperature."""

    def __init__(self, text: TextEncoderConfig, recipe: ClipRecipe, image_size: int) -> None:
        super().__init__()
        self.text = CLIPTextTransformer(text)
        self.text_projection = nn.Linear(text.d_model, recipe.d_embed, bias=False)
        self.image = ImageTower(recipe.image_channels, recipe.d_embed)
        self.logit_scale = nn.Parameter(
            torch.tensor(1 / 0.07).log()
        )  # the paper's start, section 2.5
        self.image(torch.zeros(1, 3, image_size, image_size))  # the lazy layer learns its width
        init_text(self.text)

    def embed_text(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Captions as directions: vectors of length 1 where fitting pictures lie close by."""
        return F.normalize(self.text_projection(self.text.pooled(ids)), dim=-1)

    def embed_image(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Pictures as directions in the same space."""
        return F.normalize(self.image(image), dim=-1)

    def logits(
        self, text: Float[Tensor, "*b d"], image: Float[Tensor, "*c d"]
    ) -> Float[Tensor, "..."]:
        """Scaled cosines."""
        return self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * (
            text @ image.transpose(-1, -2)
        )

    def forward(
        self, ids: Int[Tensor, "b n"], image: Float[Tensor, "c 3 h w"]
    ) -> Float[Tensor, "b c"]:
        """Row i, column j says how well caption i fits picture j."""
        return self.logits(self.embed_text(ids), self.embed_image(image))


def init_text(transformer: CLIPTextTransformer) -> None:
    """Small embeddings, as CLIP starts with; PyTorch's variance of 1 would drown what the layers add."""
    nn.init.normal_(transformer.embeddings.token_embedding.weight, std=0.02)
    nn.init.normal_(transformer.embeddings.position_embedding.weight, std=0.01)


def contrastive_loss(logits: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    r"""Each caption must find its picture, and each picture its caption.

    $$ L = \tfrac{1}{2} \left( \mathrm{CE}(S, \mathrm{diag}) + \mathrm{CE}(S^\top, \mathrm{diag}) \right) $$
    """
    truth = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth))


def near_miss_loss(logits: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    r"""Each picture must find its caption, in column 0, among captions that are almost right.

    $$ L = \mathrm{CE}(S, 0) $$
    """
    return F.cross_entropy(
        logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    )


class ClipTask:
    """The loss of one step: a batch of scenes against its own captions, and against near misses of them."""

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
        self.recipe, self.text, self.size = (
            recipe.clip,
            recipe.model.text_encoder,
            recipe.model.image_size,
        )
        self.tokenizer, self.seed, self.device, self.processes = (
            tokenizer,
            seed,
            device,
            processes,
        )
        self.networks = Clip(self.text, self.recipe, self.size).to(device)

    def batch(
        self, seed: int, step: int, n: int, processes: Processes = ALONE
    ) -> tuple[Tensor, Tensor]:
        """Token ids up to the longest caption (the mask is causal: padding changes nothing) and pictures."""
        numbered = processes.share(list(enumerate(scene_batch(seed, step, n), start=step * n)))
        captions = [scene.caption(seed=wording) for wording, scene in numbered]
        images = image_batch([scene for _, scene in numbered], self.size)
        return self.ids(captions), images.to(self.device)

    def ids(self, captions: list[str]) -> Int[Tensor, "b n"]:
        """Tokens, up to the end of the longest caption."""
        text = self.text
        ids = tokenize(
            self.tokenizer,
            captions,
            n_positions=text.n_positions,
            bos_id=text.bos_id,
            eos_id=text.eos_id,
        )
        longest = int((ids != text.eos_id).sum(dim=1).max()) + 1
        return ids[:, :longest].to(self.device)

    def hard_scenes(self, step: int) -> list[tuple[int, Scene]]:
        """The first scenes of a batch, which are also told from near misses, with their places in it."""
        count, recipe = self.processes.count, self.recipe
        scenes = scene_batch(self.seed, step, count * recipe.batch_size)[
            : count * recipe.n_hard
        ]
        return self.processes.share(list(enumerate(scenes)))

    def near_captions(self, step: int) -> list[str]:
        """For each hard scene: the full caption, then its near misses, in one wording."""
        n, captions = self.processes.count * self.recipe.batch_size, []
        for k, scene in self.hard_scenes(step):
            wording = step * n + k
            others = near_misses(
                scene, self.recipe.n_misses, random.Random(f"near {self.seed} {wording}")
            )
            captions += [one.caption(seed=wording, full=True) for one in (scene, *others)]
        return captions

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Contrastive loss, and how often the right one is found: among the batch, and among near misses."""
        clip, processes = self.networks, self.processes
        ids, images = self.batch(
            self.seed, step, processes.count * self.recipe.batch_size, processes
        )
        near_ids = self.ids(self.near_captions(step))
        places = [k for k, _ in self.hard_scenes(step)]
        with autocast(self.device):
            pictures = processes.gather(clip.embed_image(images))
            logits = clip.logits(processes.gather(clip.embed_text(ids)), pictures).float()
            near = rearrange(
                clip.embed_text(near_ids), "(b n) d -> b n d", n=1 + self.recipe.n_misses
            )
            hard = clip.logits(near, pictures[places, None]).float().squeeze(-1)
        found = (
            (logits.argmax(dim=1) == torch.arange(len(logits), device=self.device))
            .float()
            .mean()
        )
        hard_found = (hard.argmax(dim=1) == 0).float().mean()
        loss = contrastive_loss(logits) + near_miss_loss(hard)
        return {"loss": loss, "accuracy": found, "near": hard_found}

    def picture(self, networks: nn.Module, path: Path) -> None:
        """The cosines of 32 fresh captions and pictures: a bright diagonal is what we want."""
        ids, images = self.batch(self.seed + 1, 0, 32)
        with torch.no_grad(), autocast(self.device):
            save_heat(networks.eval()(ids, images).float(), path)
