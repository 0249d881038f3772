"""The model that comes with the package: what a user meets first."""

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

import labml_sd as sd
from labml_sd.checkpoint.sources import locate
from labml_sd.sampler import DDIM, NoiseSource, Step

PROMPT = "a red house in the snow at night"
FOLDER = locate("tiny")


@pytest.fixture(scope="module")
def tiny():
    return sd.load_model(device="cpu")


def weight_files() -> list[Path]:
    return sorted(FOLDER.rglob("*.safetensors"))


def test_it_takes_at_most_20_megabytes_in_float16():
    assert (
        sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 20_000_000
    )
    for path in weight_files():
        with safe_open(path, "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}


def test_it_draws_without_a_network(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    (image,) = sd.txt2img(sd.load_model(device="cpu"), PROMPT, steps=2, progress=False)
    assert image.size == (128, 128)


@pytest.mark.slow
def test_night_is_darker_than_day_and_snow_is_brighter_than_grass(tiny):
    day, grass = "a red house in the snow by day", "a red house on the grass by day"
    options = {"n_images": 4, "seed": 0, "steps": 6, "progress": False}
    drawn = {p: sd.txt2img(tiny, p, **options) for p in (PROMPT, day, grass)}

    def mean(prompt: str, rows: slice) -> float:
        return float(np.mean([np.asarray(i.convert("L"))[rows] for i in drawn[prompt]]))

    sky, ground = slice(0, 40), slice(100, 128)
    assert mean(day, sky) > 2 * mean(PROMPT, sky)
    assert mean(day, ground) > 1.2 * mean(grass, ground)


DRAW = """
import hashlib, labml_sd as sd
(image,) = sd.txt2img(sd.load_model(device="cpu"), {prompt!r}, seed=5, steps=4, progress=False)
print(hashlib.sha256(image.tobytes()).hexdigest())
"""


def test_a_new_process_draws_the_same_picture(tiny):
    (image,) = sd.txt2img(tiny, PROMPT, seed=5, steps=4, progress=False)
    done = subprocess.run(
        [sys.executable, "-c", DRAW.format(prompt=PROMPT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(image.tobytes()).hexdigest()


def last_latent(model: sd.LatentDiffusion, prompt: str, **settings: int) -> torch.Tensor:
    film: list[Step] = []
    sd.txt2img(model, prompt, on_step=film.append, progress=False, **settings)
    return film[-1].x


def test_a_picture_of_a_batch_is_the_picture_drawn_alone(tiny):
    batch = last_latent(tiny, PROMPT, seed=7, n_images=3, steps=6)
    alone = last_latent(tiny, PROMPT, seed=9, steps=6)
    assert (batch[2] - alone[0]).abs().max().item() < 1e-5 * batch.abs().max().item()


def test_diffusers_opens_the_same_folder_and_draws_the_same_picture(tiny):
    (ours,) = sd.txt2img(
        tiny, PROMPT, sampler=DDIM(spacing="uniform"), steps=10, seed=3, progress=False
    )
    pipe = StableDiffusionPipeline.from_pretrained(
        FOLDER, dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    (theirs,) = pipe(
        PROMPT,
        num_inference_steps=10,
        guidance_scale=tiny.config.guidance_scale,
        latents=NoiseSource([3], (4, 16, 16)).draw(),
    ).images
    difference = np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int))
    assert difference.max() <= 1


def test_kept_pixels_come_back_to_the_bit_and_painted_ones_change(tiny):
    (image,) = sd.txt2img(tiny, PROMPT, seed=1, steps=4, progress=False)
    mask = image.convert("L").point(lambda _: 0)
    mask.paste(255, (32, 48, 96, 112))
    (painted,) = sd.inpaint(
        tiny, "a yellow car in the snow at night", image, mask, steps=4, progress=False
    )
    before, after, keep = np.asarray(image), np.asarray(painted), np.asarray(mask) == 0
    assert np.array_equal(before[keep], after[keep])
    assert np.abs(before[~keep].astype(int) - after[~keep].astype(int)).mean() > 2
