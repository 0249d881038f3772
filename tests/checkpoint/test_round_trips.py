"""A published file -> our folder -> a file; our folder -> diffusers -> a folder of theirs."""

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint import check, load_model, save_model
from labml_sd.checkpoint.layouts.compvis import OPENCLIP, as_file
from labml_sd.checkpoint.networks import networks
from labml_sd.config import inpainting
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import txt2img
from labml_sd.text_encoder import load_tokenizer

FAMILIES = ("v1", "v1, v predicted", "v1 in-painting", "v2", "v2 in-painting")
TABLES = {"betas": torch.zeros(4), "alphas_cumprod": torch.zeros(4)}


@pytest.fixture(params=FAMILIES)
def source(request, config, make_v2, words, randomise):
    """A model of random weights of each family."""
    family = request.param
    if family == "v1, v predicted":
        schedule = replace(config.schedule, zero_snr=True)
        config = replace(config, prediction="v", schedule=schedule)
    if "in-painting" in family:
        config = inpainting(config)
    if family.startswith("v2"):
        return make_v2(config)
    return randomise(LatentDiffusion(config, load_tokenizer(words)).eval())


@pytest.fixture
def published(source, tmp_path):
    """The model as a file that others would publish: without our metadata, with leftovers."""
    parts = {part: network.state_dict() for part, network in networks(source).items()}
    v2 = source.config.unet.linear_projections
    tensors = as_file(parts, openclip_text=v2)
    unused = dict(TABLES)
    if v2:
        last = f"{OPENCLIP}transformer.resblocks.{source.config.text_encoder.n_layers}"
        unused |= {
            f"{last}.ln_1.weight": torch.ones(16),
            f"{last}.mlp.c_fc.bias": torch.ones(32),
        }
        unused |= {f"{last}.attn.in_proj_weight": torch.ones(48, 16)}
        unused |= {
            f"{OPENCLIP}{name}": torch.ones(2) for name in ("text_projection", "logit_scale")
        }
    path = tmp_path / "published.safetensors"
    save_file(tensors | unused, path)
    return path, unused.keys()


def test_a_published_file_comes_back_from_a_folder_bit_for_bit(
    source, published, words, tmp_path
):
    path, unused = published
    model = load_model(path, config=source.config, tokenizer=words)
    save_model(model, tmp_path / "folder")
    again = load_model(tmp_path / "folder")
    assert again.config == source.config
    save_model(again, tmp_path / "again.safetensors", layout="compvis")
    before, after = load_file(path), load_file(tmp_path / "again.safetensors")
    assert before.keys() - after.keys() == unused
    assert after.keys() <= before.keys()
    assert [name for name in after if not torch.equal(before[name], after[name])] == []


def test_what_a_folder_cannot_hold_is_reported(source, published):
    path, unused = published
    report = check(path, config=source.config)
    assert set(report.ignored) == unused
    assert all(name in str(report) for name in unused)


def test_diffusers_opens_our_folder_and_we_open_the_one_it_writes(
    source, tmp_path, assert_same
):
    save_model(source, tmp_path / "ours")
    task = "Inpaint" if source.config.for_inpainting else ""
    pipeline = getattr(diffusers, f"StableDiffusion{task}Pipeline").from_pretrained(
        tmp_path / "ours", local_files_only=True
    )
    pipeline.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs/tokenizer/vocab.json").exists()  # tokenizer.json alone
    found = load_model(tmp_path / "theirs")
    assert_same(found, source)
    unknown = {"name": "theirs", "guidance_scale": found.config.guidance_scale}
    assert found.config == replace(source.config, **unknown)
    prompts = ["a red house", "", "a House — 雪 <|endoftext|>"]
    assert torch.equal(found.text_encoder.ids(prompts), source.text_encoder.ids(prompts))
    drawn = [
        txt2img(model, prompts[0], steps=2, guidance_scale=3, seed=3, progress=False)[0]
        for model in (source, found)
    ]
    assert np.array_equal(*map(np.asarray, drawn))
