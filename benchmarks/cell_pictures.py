"""Cells of whole images: SD v1 from prompt to pixels, and the bundled tiny model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.resources import files as resources
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from cells import Cell, Comparison, Setting, timed_if_agreed
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from files import tokenizer
from networks import PARTS, our_model
from pairs import timed
from PIL import Image
from rival_diffusers import settings_of, twin
from rival_engines import drawing
from rival_process import Child
from torch import Tensor

import labml_sd
from labml_sd.acceleration.compiled import compile_unet
from labml_sd.checkpoint.layouts.write_configs import write_schedule
from labml_sd.config import ModelConfig
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import NoiseSource

PROMPT, SEED = "a red house in the snow at night", 42


def scheduler(config: ModelConfig) -> Any:
    """DPM-Solver++(2M) with the levels it has for SD v1's folder, which names no spacing."""
    return DPMSolverMultistepScheduler.from_config(
        write_schedule(config), timestep_spacing="linspace"
    )


def pipeline(unet: Any, vae: Any, text_encoder: Any, words: Any, config: ModelConfig) -> Any:
    """diffusers' pipeline of given networks, without the safety checker."""
    made = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler(config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def everything(setting: Setting, dtype: torch.dtype) -> tuple[LatentDiffusion, dict[str, Any]]:
    """Our model, and diffusers' pipelines in each setting, on the same weights."""
    words = tokenizer(setting.files)
    ours = our_model(PARTS, dtype, setting.device, words, setting.config)
    text_encoder = twin("text_encoder", ours.text_encoder.transformer, ours.config)
    if setting.compiled:
        compile_unet(ours.unet)
    unets = settings_of(twin("unet", ours.unet, ours.config), setting)
    vaes = settings_of(twin("autoencoder", ours.autoencoder, ours.config), setting)
    pairs = zip(unets, unets.values(), vaes.values(), strict=True)
    return ours, {
        name: pipeline(u, v, text_encoder, words, ours.config) for name, u, v in pairs
    }


def our_picture(
    model: LatentDiffusion, size: int, scale: float
) -> Callable[[int], Image.Image]:
    """steps -> image, on diffusers' noise levels, so that both networks get the same input."""

    def draw(steps: int) -> Image.Image:
        return labml_sd.txt2img(
            model, PROMPT, height=size, width=size, steps=steps, guidance_scale=scale,
            seed=SEED, compat="diffusers", progress=False,
        )[0]  # fmt: skip

    return draw


def their_picture(pipe: Any, size: int, scale: float) -> Callable[[int], Image.Image]:
    """steps -> image, from the same noise."""
    given, noise = call(size, scale), first_noise(size).to(pipe.device, pipe.unet.dtype)
    return lambda steps: pipe(**given, num_inference_steps=steps, latents=noise).images[0]


def call(size: int, scale: float) -> dict[str, Any]:
    """The arguments of diffusers' pipeline."""
    return {"prompt": PROMPT, "height": size, "width": size, "guidance_scale": scale}


def first_noise(size: int) -> Tensor:
    """The noise that our pipeline starts from."""
    return NoiseSource([SEED], (4, size // 8, size // 8)).draw()


def pixels(image: Image.Image) -> Tensor:
    """Pixels in [-1, 1]."""
    return torch.from_numpy(np.asarray(image).astype(np.float64)) / 127.5 - 1


def compared(
    draws: dict[str, Callable[[int], Image.Image]],
    steps: int,
    dtype: torch.dtype,
    device: torch.device,
    elsewhere: Mapping[str, Child] = MappingProxyType({}),
) -> Comparison:
    """All draw `steps` steps, if after two steps they have drawn the same image."""
    few = {name: lambda d=draw: pixels(d(2)) for name, draw in draws.items()}
    runs = timed_if_agreed(few, dtype, device, elsewhere)
    runs |= {name: timed(partial(draw, steps), device) for name, draw in draws.items()}
    return Comparison(runs=runs, warm_ups=0 if device.type == "cpu" else 2)


@contextmanager
def txt2img(setting: Setting, *, steps: int, dtype: torch.dtype) -> Iterator[Comparison]:
    """SD v1 at 512x512, guidance 7.5."""
    ours, theirs = setting.shelf.get(("everything", dtype), lambda: everything(setting, dtype))
    draws = {"ours": our_picture(ours, 512, 7.5)}
    draws |= {name: their_picture(pipe, 512, 7.5) for name, pipe in theirs.items()}
    pipe, noise = next(iter(theirs.values())), first_noise(512)
    with drawing(setting, pipe, call(512, 7.5), steps, noise, dtype) as others:
        yield compared(draws, steps, dtype, setting.device, others)


@contextmanager
def tiny(setting: Setting) -> Iterator[Comparison]:
    """The bundled model, 128x128, 20 steps; diffusers loads the same folder."""
    setting.shelf.clear()
    model = labml_sd.load_model(device=setting.device, dtype="float32")
    pipe = StableDiffusionPipeline.from_pretrained(
        str(resources("labml_sd") / "models" / "tiny"),
        torch_dtype=torch.float32,
        local_files_only=True,
    ).to(setting.device)
    pipe.scheduler = scheduler(model.config)
    pipe.set_progress_bar_config(disable=True)
    draws = {"ours": our_picture(model, 128, 3.0), "diffusers": their_picture(pipe, 128, 3.0)}
    yield compared(draws, 20, torch.float32, setting.device)


def cells() -> list[Cell]:
    """On a CPU 20 steps, the default; on CUDA 30, as in published figures."""
    found = [Cell(name="tiny model, warm, 128, 20 steps", enter=tiny)]
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        number = str(dtype).removeprefix("torch.")
        for device, steps in (("cpu", 20), ("cuda", 30)):
            enter = partial(txt2img, steps=steps, dtype=dtype)
            name = f"txt2img 512, {steps} steps, {number}"
            quick = device == "cuda" and dtype != torch.float32
            if device == "cuda" or dtype != torch.float16:
                found.append(
                    Cell(name=name, enter=enter, quick=quick, dtype=dtype, devices=(device,))
                )
    return found
