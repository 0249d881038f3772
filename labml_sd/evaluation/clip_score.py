r"""The CLIP score: how well pictures fit their captions, measured with a trained CLIP.

Maps       captions, images  ->  embeddings [n d]; two sets of embeddings  ->  mean cosines
Paper      Hessel et al. 2021, arXiv:2104.08718, section 3 (without the factor 2.5 and the
           clipping at 0)
Tests      tests/evaluation/test_clip_score.py

Both towers come from `clip.pt` of a training run. A model's own text encoder is not used: it
has no projection into the shared space, and may come from another run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder import load_tokenizer
from labml_sd.tiny.recipe import Recipe
from labml_sd.training.run import load_average
from labml_sd.training.stages import TOKENIZER, with_vocabulary
from labml_sd.training.tasks.clip import Clip, token_ids

CHUNK = 64  # captions encoded at a time


class ClipScorer:
    """A trained CLIP with its tokenizer: captions and pictures to embeddings on the CPU."""

    def __init__(self, clip: Clip, tokenizer: Any, config: TextEncoderConfig) -> None:
        self.clip = clip.eval().requires_grad_(False)
        self.tokenizer, self.config = tokenizer, config

    @torch.inference_mode()
    def embed_images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Unit vectors of pictures in [-1, 1], of the size that CLIP was trained on."""
        return self.clip.embed_image(images.float().to(self.clip.logit_scale.device)).cpu()

    @torch.inference_mode()
    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of captions."""
        ids = token_ids(self.tokenizer, list(captions), self.config)
        parts = torch.split(ids.to(self.clip.logit_scale.device), CHUNK)
        return torch.cat([self.clip.embed_text(part).cpu() for part in parts])


def load_clip(folder: Path, recipe: Recipe, device: torch.device) -> ClipScorer:
    """The CLIP of a training run. CheckpointError if missing or of another recipe."""
    tokenizer = load_tokenizer(folder / TOKENIZER)
    config = with_vocabulary(recipe.model, len(tokenizer))
    clip = Clip(config.text_encoder, recipe.clip, config.image_size)
    load_average(clip, folder, "clip")
    return ClipScorer(clip.to(device), tokenizer, config.text_encoder)


def clip_scores(
    captions: Float[Tensor, "n d"], images: Float[Tensor, "n d"]
) -> dict[str, float]:
    r"""Mean cosine of each picture with its own caption, and with the next picture's caption.

    $$ \text{own} = \frac{1}{n} \sum_i \cos(c_i, v_i), \qquad
       \text{other} = \frac{1}{n} \sum_i \cos(c_{i+1}, v_i) $$

    The embeddings have length 1, and caption n + 1 is caption 1. `error` is the standard error
    of `own`.
    """
    captions, images = captions.double(), images.double()
    own = (captions * images).sum(dim=1)
    other = (captions.roll(-1, dims=0) * images).sum(dim=1)
    error = float(own.std() / len(own) ** 0.5) if len(own) > 1 else 0.0
    return {"own": float(own.mean()), "other": float(other.mean()), "error": error}
