"""The capstone: the script is the notebook's, short, and draws the package's images."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import labml_sd as sd
from labml_sd import save_model
from labml_sd.config import sd_v1
from labml_sd.figures import same
from labml_sd.latent_diffusion import LatentDiffusion

FOLDER = Path(__file__).parents[2] / "notebooks"
SCRIPT = FOLDER / "stable_diffusion.py"
PROMPT, SEEDS = "a red house in the snow at night", (3, 4)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("stable_diffusion", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # imported, not run: `main` starts only under the name __main__
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pair(script):
    theirs = sd.load_model(device="cpu", dtype="float32", fast=False)
    return script.load(), theirs


def test_the_script_is_what_the_notebook_defines():
    notebook = nbformat.read(FOLDER / "17_stable_diffusion.ipynb", as_version=4)
    cells = [c.source for c in notebook.cells if "script" in c.metadata.get("tags", [])]
    assert SCRIPT.read_text(encoding="utf-8") == "\n\n\n".join(cells) + "\n"


def test_the_script_is_short():
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) <= 420
    assert max(map(len, lines)) <= 88


def test_each_network_is_the_packages(script, pair):
    mine, theirs = pair
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([500.0])
    cond = torch.randn(4, 77, mine.config.text_encoder.d_model)
    same(mine.unet, theirs.unet, x, t, cond)
    same(mine.autoencoder.encoder, theirs.autoencoder.encoder, torch.randn(1, 3, 32, 32))
    same(mine.autoencoder.decoder, theirs.autoencoder.decoder, x[:, :, :4, :4])
    assert torch.equal(mine.encode_prompt(PROMPT), theirs.encode_prompt(PROMPT))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize(
    ("job", "strength"), [("txt2img", 1), ("img2img", 0.6), ("inpaint", 1), ("inpaint", 0.7)]
)
def test_every_job_draws_the_packages_latents_and_images(script, pair, job, strength, sampler):
    mine, theirs = pair
    image = Image.radial_gradient("L").resize((128, 128)).convert("RGB")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((30, 30, 100, 100), fill="white")
    z, cells = script.encode_image(mine, image), script.mask_cells(mine, mask)
    given = {"txt2img": [], "img2img": [image], "inpaint": [image, mask]}[job]
    latents = {"txt2img": [], "img2img": [z], "inpaint": [z, cells]}[job]
    part = {} if job == "txt2img" else {"strength": strength}
    options = {"seeds": SEEDS, "steps": 4, "step": getattr(script, sampler), **part}
    seen = []
    expected = getattr(sd, job)(
        theirs,
        PROMPT,
        *given,
        seed=SEEDS[0],
        n_images=len(SEEDS),
        steps=4,
        sampler=sampler,
        progress=False,
        on_step=lambda step: seen.append(step.x),
        **part,
    )
    assert torch.equal(script.draw_latents(mine, PROMPT, *latents, **options), seen[-1])
    drawn = getattr(script, job)(mine, PROMPT, *given, **options)
    for one, other in zip(drawn, expected, strict=True):
        assert np.array_equal(one, other)


def test_it_has_the_weights_of_v1(script):
    with torch.device("meta"):
        mine = script.MyStableDiffusion(sd_v1(), None)
        theirs = LatentDiffusion(sd_v1(), None)
    parts = {
        "text_encoder": theirs.text_encoder.transformer,
        "unet": theirs.unet,
        "autoencoder": theirs.autoencoder,
    }
    for name, part in parts.items():
        ours = mine.get_submodule(name).state_dict()
        assert {k: v.shape for k, v in ours.items()} == {
            k: v.shape for k, v in part.state_dict().items()
        }


@pytest.mark.full_size
def test_it_loads_a_file_of_v1_strictly(script, tokenizer, randomise, tmp_path):
    v1, n = sd_v1(), len(tokenizer)
    text = replace(v1.text_encoder, vocab_size=n, bos_id=n - 2, eos_id=n - 1)
    with torch.device("meta"):
        model = LatentDiffusion(replace(v1, text_encoder=text), tokenizer)
    path = tmp_path / "random.safetensors"
    save_model(randomise(model.to_empty(device="cpu")).half(), path, layout="compvis")
    del model
    mine = script.load(path).unet
    theirs = sd.load_model(path, device="cpu", dtype="float32", fast=False).unet
    x, t, cond = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(2, 77, 768)
    with torch.no_grad():
        assert torch.equal(mine(x, t, cond), theirs(x, t, cond))


@pytest.mark.slow
def test_it_runs_as_a_program(tmp_path):
    subprocess.run(
        [sys.executable, str(SCRIPT), PROMPT, "--output", str(tmp_path / "a.png")],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (128, 128)
