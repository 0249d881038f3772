"""A nine-channel model against diffusers' StableDiffusionInpaintPipeline.

As in test_pipeline_against_diffusers.py, the schedule's table and the noise are ours. Theirs
draws a latent of the masked picture from its posterior; here it takes the mean, as we do.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_inpaint
from PIL import Image

from labml_sd.checkpoint import load_model, save_model
from labml_sd.config import ModelConfig, inpainting
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import inpaint, txt2img
from labml_sd.sampler import DDIM, NoiseSource, Step

PROMPT, NEGATIVE = "a red house in the snow", "a boat"
RUN: dict[str, Any] = {"negative_prompt": NEGATIVE, "guidance_scale": 7.5}


@pytest.fixture(scope="module", params=["eps", "v"])
def model(
    request: pytest.FixtureRequest,
    make_model: Callable[..., LatentDiffusion],
    small_config: ModelConfig,
) -> LatentDiffusion:
    return make_model(replace(inpainting(small_config), prediction=request.param)).double()


@pytest.fixture
def pipeline(model: LatentDiffusion, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    save_model(model, tmp_path / "model")
    opened = StableDiffusionInpaintPipeline.from_pretrained(
        tmp_path / "model", dtype=torch.float64, local_files_only=True
    )
    opened.scheduler = DDIMScheduler.from_config(opened.scheduler.config)
    opened.scheduler.alphas_cumprod = model.schedule.alpha_bar
    opened.scheduler.final_alpha_cumprod = model.schedule.alpha_bar[0]
    opened.set_progress_bar_config(disable=True)
    module = pipeline_stable_diffusion_inpaint
    mean = partial(module.retrieve_latents, sample_mode="argmax")
    monkeypatch.setattr(module, "retrieve_latents", lambda out, generator=None: mean(out))
    source = NoiseSource([11], (4, 4, 4), dtype=torch.float64)
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: source.draw())
    return opened


@pytest.fixture
def mask() -> Image.Image:
    """White on whole latent cells: elsewhere theirs takes one pixel of each cell."""
    mask = Image.new("L", (32, 32))
    mask.paste(255, (8, 16, 24, 32))
    return mask


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_latent_of_a_run_equals_theirs(
    model, pipeline, photo, mask, relative_error, strength
):
    image, seen = photo(32, 32), list[Step]()
    inpaint(
        model, PROMPT, image, mask, strength=strength, sampler=DDIM(spacing="uniform"),
        steps=4, seed=11, on_step=seen.append, progress=False, **RUN,
    )  # fmt: skip
    theirs = pipeline(
        PROMPT, image=image, mask_image=mask, strength=strength, num_inference_steps=4,
        height=32, width=32, output_type="latent", **RUN,
    ).images  # fmt: skip
    assert relative_error(seen[-1].x, theirs) < 1e-6


def test_kept_pixels_are_bit_equal_and_the_mask_matters(model, photo, mask):
    image = photo(32, 32)
    (painted,) = inpaint(model, PROMPT, image, mask, steps=2, progress=False)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])
    other = Image.new("L", (32, 32), 255)
    (all_painted,) = inpaint(model, PROMPT, image, other, steps=2, progress=False)
    assert not np.array_equal(np.asarray(painted)[~kept], np.asarray(all_painted)[~kept])


def test_txt2img_paints_everything_with_an_in_painting_model(model, photo):
    (drawn,) = txt2img(model, PROMPT, steps=2, seed=3, progress=False)
    grey = Image.new("RGB", (32, 32))
    white = Image.new("L", (32, 32), 255)
    (painted,) = inpaint(model, PROMPT, grey, white, steps=2, seed=3, progress=False)
    assert np.array_equal(np.asarray(drawn), np.asarray(painted))


@pytest.mark.parametrize("layout", ["diffusers", "compvis"])
def test_a_saved_in_painting_model_is_read_back(model, layout, tmp_path):
    path = tmp_path / ("model.safetensors" if layout == "compvis" else "model")
    save_model(model, path, layout=layout)
    again = load_model(path, device="cpu", dtype="float64")
    assert again.config == model.config
    ours, read = model.state_dict(), again.state_dict()
    assert [key for key in ours if not torch.equal(ours[key], read[key])] == []
