"""Fixtures for the tests of every subpackage: a tokenizer, a small model, a training recipe."""

import copy
import gc
import importlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shape_checks  # noqa: F401 - before the package is imported
import torch
from PIL import Image
from torch import nn

from labml_sd import config
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import save_tokenizer
from labml_sd.text_encoder.tokenizer import load_tokenizer
from labml_sd.tiny.recipe import (
    AutoencoderRecipe,
    ClipRecipe,
    DiffusionRecipe,
    ImageTowerRecipe,
    Recipe,
)
from labml_sd.training.learn_bpe import learn_bpe

if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker for each core: more threads would only wait for one another.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the notebooks' kernels

GPU_REHEARSAL = "LABML_SD_GPU_REHEARSAL" in os.environ
"""Tests for a GPU run on the CPU, to find typos: `benchmarks/gpu.sh --dry-run`."""

CAPTIONS = [
    "a red house in the snow at night",
    "a small blue boat on the sea",
    "a cat under the moon",
]


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The device of a test marked `gpu`."""
    return torch.device("cpu" if GPU_REHEARSAL else "cuda")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a GPU `pytest -m gpu` is red: green must mean that the tests ran on one."""
    missing = not (GPU_REHEARSAL or torch.cuda.is_available())
    if item.get_closest_marker("gpu") and missing:
        pytest.fail("needs a CUDA GPU; torch finds none on this machine", pytrace=False)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP tokenizer with at most 530 tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, *learn_bpe(CAPTIONS, vocab_size=530))
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    """The same tokenizer, loaded."""
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="session")
def small_config(tokenizer: Any) -> config.ModelConfig:
    """The tiny model made as narrow as it goes: 32x32 pixels, 8 pixels to a latent cell.

    Sides are multiples of 16 pixels.
    """
    tiny = config.tiny(vocab_size=len(tokenizer))
    text = replace(tiny.text_encoder, d_model=16, n_layers=1, n_heads=2, d_mlp=32)
    unet = replace(
        tiny.unet,
        channels=8,
        channel_multipliers=(1, 2),
        attention_levels=(1,),
        n_res_blocks=1,
        n_heads=2,
        d_cond=16,
        norm_groups=4,
    )
    autoencoder = replace(
        tiny.autoencoder,
        channels=8,
        channel_multipliers=(1, 1, 2, 2),
        norm_groups=4,
        scale_factor=0.5,
    )
    return replace(
        tiny,
        name="small",
        text_encoder=text,
        unet=unet,
        autoencoder=autoencoder,
        image_size=32,
    )


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """All stages of the training, at a size that takes milliseconds a step."""
    small_unet = config.UNetConfig(
        channels=16,
        channel_multipliers=(1, 2),
        attention_levels=(0,),
        n_res_blocks=1,
        n_heads=2,
        d_cond=16,
        norm_groups=8,
    )
    model = config.ModelConfig(
        name="small",
        text_encoder=config.TextEncoderConfig(
            vocab_size=600, bos_id=598, eos_id=599, d_model=16, n_layers=1, n_heads=2, d_mlp=32
        ),
        unet=small_unet,
        autoencoder=config.AutoencoderConfig(
            channels=8,
            channel_multipliers=(1, 2),
            n_res_blocks=1,
            norm_groups=8,
            scale_factor=1.0,
        ),
        image_size=32,
        guidance_scale=2.0,
    )
    return Recipe(
        name="small",
        model=model,
        n_captions=200,
        max_vocab=600,
        autoencoder=AutoencoderRecipe(n_steps=6, batch_size=4, crop=16),
        decoder=AutoencoderRecipe(n_steps=6, batch_size=4, crop=16),
        clip=ClipRecipe(n_steps=6, batch_size=4, n_hard_scenes=2, d_embed=8, image_channels=8),
        diffusion=DiffusionRecipe(n_steps=6, batch_size=4, n_scenes=40),
        image_tower=ImageTowerRecipe(n_steps=6, batch_size=4, n_scenes=8, n_negatives=2),
    )


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Fills a network with the same random weights each time; no weight is zero."""

    def fill(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in sorted(network.named_parameters()):
                values = torch.randn(parameter.shape, generator=generator)
                is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
                parameter.copy_(1 + 0.1 * values if is_norm_weight else values / fan_in**0.5)
        return network.eval().requires_grad_(False)

    return fill


@pytest.fixture(scope="session")
def make_model(
    small_config: config.ModelConfig,
    tokenizer: Any,
    randomise: Callable[[nn.Module], nn.Module],
) -> Callable[..., LatentDiffusion]:
    """Makes a new model with the same random weights each time; with a config, of its shape."""

    @cache
    def random_model(shape: config.ModelConfig) -> LatentDiffusion:
        with torch.device("meta"):
            model = LatentDiffusion(shape, tokenizer)
        return randomise(model.to_empty(device="cpu"))

    return lambda shape=small_config: copy.deepcopy(
        random_model(shape), {id(tokenizer): tokenizer}
    )


@pytest.fixture(scope="session")
def model(make_model: Callable[[], LatentDiffusion]) -> LatentDiffusion:
    """One such model for all tests; no test may change it."""
    return make_model()


@pytest.fixture
def photo() -> Callable[[int, int], Image.Image]:
    """Makes pictures of any size: a smooth ramp with noise on it."""

    def make(width: int, height: int) -> Image.Image:
        generator = torch.Generator().manual_seed(width * 10_000 + height)
        noise = torch.randint(0, 64, (height, width, 3), generator=generator)
        ramp = torch.linspace(0, 191, width)[None, :, None]
        return Image.fromarray((noise + ramp).to(torch.uint8).numpy())

    return make


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C with its usual meaning: a process in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_finish() -> None:
    """Hide what the imports made from the garbage collector: tests that collect take ms."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Let matplotlib make its font cache, and say so on stderr, before any notebook runs."""
    importlib.import_module("matplotlib.font_manager")
