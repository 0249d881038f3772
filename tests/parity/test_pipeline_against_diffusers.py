"""Whole pictures against diffusers' StableDiffusionPipeline, on a folder of `save_model`.

The run is DDIM, on the times of CompVis ("uniform", diffusers' "leading"), where the step count
divides 1000. Two things of theirs are replaced by ours first: the schedule's table, which is
float32 there, and the noise, which they would draw in float64 and we draw in float32.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion
from diffusers.schedulers import scheduling_ddim
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from labml_sd.checkpoint import save_model
from labml_sd.config import ModelConfig
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import txt2img
from labml_sd.sampler import DDIM, NoiseSource, Step

PROMPT, NEGATIVE = "a red house in the snow", "a boat"
SHAPE = (4, 4, 4)  # of one latent: the model's pictures are 32x32


SHAPES = ("SD v1", "SD v2")


@pytest.fixture(scope="module", params=SHAPES)
def double_model(
    request: pytest.FixtureRequest,
    make_model: Callable[..., LatentDiffusion],
    small_config: ModelConfig,
) -> LatentDiffusion:
    """As SD v1, and as SD v2: v predicted, heads of one size, padding with token 0."""
    if request.param == "SD v1":
        return make_model().double()
    text = replace(small_config.text_encoder, activation="gelu", pad_id=0)
    unet = replace(small_config.unet, d_head=4, linear_projections=True)
    v2 = replace(small_config, text_encoder=text, unet=unet, prediction="v")
    return make_model(v2).double()


@pytest.fixture(scope="module")
def pipeline(double_model: LatentDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(double_model, folder)
    opened = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float64, local_files_only=True
    )
    # The folder's own settings, steps_offset 1 and set_alpha_to_one false among them, with
    # another sampler.
    opened.scheduler = DDIMScheduler.from_config(
        opened.scheduler.config, timestep_spacing="leading"
    )
    opened.scheduler.alphas_cumprod = double_model.schedule.alpha_bar
    opened.scheduler.final_alpha_cumprod = double_model.schedule.alpha_bar[0]
    opened.set_progress_bar_config(disable=True)
    return opened


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Have diffusers draw from our generators."""

    def replace(seeds: list[int]) -> None:
        source = NoiseSource(seeds, SHAPE, dtype=torch.float64)
        for module in (pipeline_stable_diffusion, scheduling_ddim):
            monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: source.draw())

    return replace


def ours(model: LatentDiffusion, sampler: DDIM, steps: int) -> tuple[list[Any], Tensor]:
    """Two pictures, and the last latent of both."""
    seen: list[Step] = []
    images = txt2img(
        model, PROMPT, negative_prompt=NEGATIVE, sampler=sampler, steps=steps,
        guidance_scale=7.5, seed=11, n_images=2, on_step=seen.append, progress=False,
    )  # fmt: skip
    return images, seen[-1].x


def theirs(pipeline: Any, steps: int, eta: float, output: str, generator: Any = None) -> Any:
    return pipeline(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=7.5,
        eta=eta, num_images_per_prompt=2, height=32, width=32, output_type=output,
        generator=generator,
    ).images  # fmt: skip


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [4, 10])
def test_the_latent_of_a_guided_ddim_run_equals_theirs(
    double_model, pipeline, same_noise, relative_error, eta, steps
):
    _, z = ours(double_model, DDIM(spacing="uniform", eta=eta), steps)
    same_noise([11, 12])
    assert relative_error(z, theirs(pipeline, steps, eta, "latent")) < 1e-6


def test_the_pictures_equal_theirs_pixel_for_pixel(double_model, pipeline, same_noise):
    images, _ = ours(double_model, DDIM(spacing="uniform"), 4)
    same_noise([11, 12])
    for our_image, their_image in zip(images, theirs(pipeline, 4, 0.0, "pil"), strict=True):
        assert np.array_equal(np.asarray(our_image), np.asarray(their_image))


def test_the_embeddings_of_prompts_equal_theirs(double_model, pipeline, relative_error):
    cond, uncond = pipeline.encode_prompt(
        PROMPT,
        "cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt=NEGATIVE,
    )
    assert relative_error(double_model.encode_prompt(PROMPT), cond) < 1e-8
    assert relative_error(double_model.encode_prompt(NEGATIVE), uncond) < 1e-8


def test_in_float32_one_generator_an_image_draws_our_noise_in_our_order():
    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
    source = NoiseSource([11, 12], SHAPE)
    for _ in range(3):
        drawn = randn_tensor((2, *SHAPE), generator=generators, dtype=torch.float32)
        assert torch.equal(source.draw(), drawn)
