import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from labml_sd.config import AutoencoderConfig, ModelConfig, TextEncoderConfig, UNetConfig
from labml_sd.tiny.recipe import AutoencoderRecipe, ClipRecipe, DiffusionRecipe, Recipe


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """The whole training at a size that takes milliseconds a step."""
    text = TextEncoderConfig(
        vocab_size=600, n_positions=77, d_model=16, n_layers=1, n_heads=2, d_mlp=32
    )
    model = ModelConfig(
        name="small",
        text_encoder=replace(text, bos_id=598, eos_id=599),
        unet=UNetConfig(
            channels=16,
            channel_multipliers=(1, 2),
            attention_levels=(0,),
            n_res_blocks=1,
            n_heads=2,
            d_cond=16,
            norm_groups=8,
        ),
        autoencoder=AutoencoderConfig(
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
        clip=ClipRecipe(n_steps=6, batch_size=4, n_hard=2, d_embed=8, image_channels=8),
        diffusion=DiffusionRecipe(n_steps=6, batch_size=4, n_scenes=40),
    )


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C with its usual meaning: a test run in the background would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
