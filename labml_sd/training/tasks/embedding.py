r"""Textual inversion: vectors for a new word are learned from a few pictures, and nothing else.

Maps       latents of pictures, a word to start from  ->  vectors [n d]
Paper      Gal et al. 2022, arXiv:2208.01618, eq. 2
Reference  rinongal/textual_inversion; diffusers examples/textual_inversion
Tests      tests/training/tasks/test_embedding.py

The loss is that of the diffusion stage. Text encoder, U-Net and autoencoder are frozen: the
gradient passes through the first two, and only the vectors move.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from labml_sd.adapters.textual_inversion import Embedding, by_name, initial_vectors
from labml_sd.errors import PromptError, quoted
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import CLIPTextEmbedder, chunks_of
from labml_sd.tiny.recipe import DiffusionRecipe, Recipe
from labml_sd.training.latents import LatentSet
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_rows
from labml_sd.training.tasks.diffusion import DiffusionTask

TEMPLATES = (
    *(
        "a {}",
        "a photo of a {}",
        "a photo of the {}",
        "a picture of a {}",
        "a good photo of a {}",
    ),
    *("a close-up photo of a {}", "a cropped photo of the {}", "a bright photo of the {}"),
    *(
        "a dark photo of the {}",
        "a photo of one {}",
        "a rendering of a {}",
        "a depiction of a {}",
    ),
)
"""Captions that say nothing but the new word."""
PICTURES = 6  # drawn to show the progress
# The optimiser moves a number by up to the learning rate a step. Of the standard deviation of
# all token embeddings this is 7e-4 for SD v1; the example in diffusers has 2e-3 (5e-4 for each
# picture of a batch of 4), AUTOMATIC1111 5e-3.
RATE = 0.05


class Learned(nn.Module):
    """The vectors that are trained."""

    def __init__(self, vectors: Float[Tensor, "n d"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().float().clone())


class EmbeddingTask(DiffusionTask):
    """The diffusion loss on a few pictures, under captions with one new word."""

    name = "embedding"

    def __init__(
        self,
        recipe: DiffusionRecipe,
        model: LatentDiffusion,
        latents: LatentSet,
        start: Embedding,
        templates: Sequence[str],
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        """Learn vectors of the name and the shape of `start`, from its values on.

        Each of `templates` has `{}` in the place of the name.
        """
        numbers = Recipe(name=self.name, model=model.config, diffusion=recipe)
        super().__init__(numbers, model, latents, seed, processes)
        model.requires_grad_(False)
        self.start, self.templates = start, check_templates(templates)
        self.networks: nn.Module = Learned(start.vectors).to(model.device)

    @property
    def learned(self) -> Embedding:
        """The vectors as they are now."""
        vectors = self.networks.get_parameter("vectors").detach().float().cpu().clone()
        return replace(self.start, vectors=vectors)

    def captions(self, index: Int[Tensor, " b"], step: int, draw: Generator) -> list[str]:
        """A template for each picture, at random."""
        chosen = torch.randint(0, len(self.templates), (len(index),), generator=draw)
        captions = [self.templates[i].replace("{}", self.start.name) for i in chosen]
        return self.processes.share(captions)

    def encoded(self, prompts: Sequence[str]) -> Float[Tensor, "b n d"]:
        """The embeddings c of prompts with the vectors in the place of the name.

        Gradients flow back to the vectors.
        """
        encoder = self.model.text_encoder
        vectors = {self.start.name: self.networks.get_parameter("vectors")}
        chunks = [
            chunks_of(p, encoder.tokenizer, encoder.config, "none", vectors)[:1]
            for p in prompts
        ]
        return torch.stack(encoder.encode_chunks(chunks))

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Some of the pictures to learn from, and below them what the word now draws."""
        n = min(PICTURES, len(self.latents.mean))
        z = self.model.autoencoder.scaled(self.latents.mean[:n].float())
        with torch.inference_mode():
            given = self.model.decode_latent(z.to(self.model.device)).float()
        prompts = [self.templates[i % len(self.templates)] for i in range(n)]
        prompts = [prompt.replace("{}", self.start.name) for prompt in prompts]
        save_rows([given, self.drawn(self.model.unet, prompts, self.seed)], path)


def start_from(model: LatentDiffusion, name: str, init: str, n: int = 1) -> Embedding:
    """The embedding before training: n copies of the vector of the word `init`.

    Raises PromptError if `init` is not one token, or `name` cannot be found in a prompt.
    """
    start = Embedding(name, initial_vectors(model.text_encoder, init, n))
    by_name([start], model.config.text_encoder.d_model)
    check_name(model.text_encoder, start)
    return start


def check_name(encoder: CLIPTextEmbedder, start: Embedding) -> None:
    """Raise PromptError unless the name is found in a prompt."""
    (chunk, *_) = chunks_of(
        f"a {start.name}",
        encoder.tokenizer,
        encoder.config,
        "none",
        {start.name: start.vectors},
    )
    if sum(token.vector is not None for token in chunk.tokens) != len(start.vectors):
        raise PromptError(
            f"{quoted(start.name)} with {len(start.vectors)} vectors is not found in a prompt: "
            "give a name of letters and digits, as in <toy>"
        )


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Raise PromptError unless each template has one `{}`, and there is one."""
    for template in templates:
        if template.count("{}") != 1:
            raise PromptError(
                f"template {quoted(template)}: expected one {{}}, where the new word stands"
            )
    if not templates:
        raise PromptError("there are no templates: give one a line, as in: a photo of a {}")
    return tuple(templates)


def known_templates(tokenizer: Any) -> tuple[str, ...]:
    """Those of `TEMPLATES` of which the tokenizer knows every word as one token.

    A model that was trained on few words, as the bundled one, is not given others.
    """
    words = tokenizer.get_vocab()
    return tuple(
        template
        for template in TEMPLATES
        if all(f"{w}</w>" in words for w in re.findall(r"\w+", template))
    )


def default_rate(encoder: CLIPTextEmbedder) -> float:
    """A learning rate in proportion to the token embeddings of a model."""
    return RATE * float(encoder.transformer.embeddings.token_embedding.weight.float().std())
