"""Embeddings between this package and diffusers: files both ways, and the same conditioning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from labml_sd.adapters import Embedding
from labml_sd.checkpoint import save_model
from labml_sd.checkpoint.embeddings import load_embedding, load_embeddings, save_embedding
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import chunks_of

PROMPT = "a red <toy> in the snow, <toy> at night"


@pytest.fixture(scope="module")
def double_model(make_model: Callable[..., LatentDiffusion]) -> LatentDiffusion:
    return make_model().double()


@pytest.fixture
def pipeline(double_model: LatentDiffusion, tmp_path: Path) -> Any:
    """A pipeline of its own for each test: `load_textual_inversion` changes it."""
    save_model(double_model, tmp_path / "model")
    return StableDiffusionPipeline.from_pretrained(
        tmp_path / "model", dtype=torch.float64, local_files_only=True
    )


def vectors(n: int) -> Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(n))


def ours(model: LatentDiffusion, path: Path) -> Tensor:
    found = load_embeddings([("<toy>", path)], model.config.text_encoder.d_model)
    by_name = {name: embedding.vectors for name, embedding in found.items()}
    encoder = model.text_encoder
    chunks = chunks_of(PROMPT, encoder.tokenizer, encoder.config, "none", by_name)
    return encoder.encode_chunks([chunks])[0]


def theirs(pipeline: Any) -> Tensor:
    with torch.no_grad():
        return pipeline.encode_prompt(PROMPT, "cpu", 1, False)[0][0]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", ["toy.safetensors", "toy.bin", "toy.pt"])
def test_diffusers_opens_what_is_saved_and_makes_the_same_of_a_prompt(
    double_model, pipeline, tmp_path, n, name
):
    path = tmp_path / name
    save_embedding(Embedding("<toy>", vectors(n)), path)
    pipeline.load_textual_inversion(str(path), local_files_only=True)
    tokens = ["<toy>", *(f"<toy>_{i}" for i in range(1, n))]
    ids = pipeline.tokenizer.convert_tokens_to_ids(tokens)
    table = pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[ids].float(), vectors(n))
    torch.testing.assert_close(ours(double_model, path), theirs(pipeline), rtol=0, atol=1e-12)


def test_what_users_of_diffusers_have_is_opened(tmp_path):
    # as examples/textual_inversion writes: {placeholder token: its rows}
    torch.save({"<cat-toy>": vectors(1)}, tmp_path / "learned_embeds.bin")
    (found,) = load_embedding(tmp_path / "learned_embeds.bin")
    assert found.name == "<cat-toy>"
    assert torch.equal(found.vectors, vectors(1))
