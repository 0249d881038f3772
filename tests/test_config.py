import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import (
    AutoencoderConfig,
    ModelConfig,
    ScheduleConfig,
    TextEncoderConfig,
    UNetConfig,
    sd_v1,
    tiny,
)
from labml_sd.text_encoder import CLIPTextTransformer
from labml_sd.unet import UNet

CLASSES = [TextEncoderConfig, UNetConfig, AutoencoderConfig, ScheduleConfig, ModelConfig]
MODELS = {"sd_v1": sd_v1(), "tiny": tiny()}


@pytest.mark.holds("fact: latent-scale")
def test_the_defaults_are_the_numbers_of_sd_v1():
    text, unet, vae = TextEncoderConfig(), UNetConfig(), AutoencoderConfig()
    assert (text.vocab_size, text.n_positions, text.bos_id, text.eos_id) == (
        49408,
        77,
        49406,
        49407,
    )
    assert (text.d_model, text.n_layers, text.n_heads, text.d_mlp) == (768, 12, 12, 3072)
    assert (text.activation, text.norm_eps) == ("quick_gelu", 1e-5)
    assert (unet.channels, unet.channel_multipliers, unet.n_res_blocks) == (
        320,
        (1, 2, 4, 4),
        2,
    )
    assert (unet.attention_levels, unet.n_heads, unet.d_cond) == ((0, 1, 2), 8, 768)
    assert (vae.channels, vae.channel_multipliers, vae.n_res_blocks) == (128, (1, 2, 4, 4), 2)
    assert (vae.z_channels, vae.scale_factor) == (4, 0.18215)
    assert ScheduleConfig() == ScheduleConfig(n_steps=1000, beta_start=0.00085, beta_end=0.012)
    assert (sd_v1().image_size, sd_v1().guidance_scale) == (512, 7.5)


def test_the_last_two_entries_of_a_clip_vocabulary_are_its_marks():
    for config in MODELS.values():
        text = config.text_encoder
        assert (text.bos_id, text.eos_id) == (text.vocab_size - 2, text.vocab_size - 1)


@pytest.mark.parametrize("name, latent, image", [("sd_v1", 8, 64), ("tiny", 4, 32)])
def test_sides_are_multiples_of_what_the_networks_halve(name, latent, image):
    config = MODELS[name]
    assert config.unet.size_multiple == latent
    assert config.autoencoder.downsampling_factor == 8
    assert config.size_multiple == image
    assert config.image_size % config.size_multiple == 0


def test_the_tiny_latent_is_4_by_16_by_16():
    config = tiny()
    side = config.image_size // config.autoencoder.downsampling_factor
    assert (config.autoencoder.z_channels, side) == (4, 16)


def test_the_tiny_networks_fit_into_20_megabytes_of_float16():
    config = tiny()
    with torch.device("meta"):
        parts = [
            CLIPTextTransformer(config.text_encoder),
            UNet(config.unet),
            Autoencoder(config.autoencoder),
        ]
    n_parameters = sum(p.numel() for part in parts for p in part.parameters())
    assert 2 * n_parameters <= 20e6


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_configuration_cannot_be_changed(cls):
    first = fields(cls)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(cls(), first, 1)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_configuration_takes_keywords_only(cls):
    with pytest.raises(TypeError, match="positional"):
        cls(1)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_the_trip_through_json(name):
    config = MODELS[name]
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_text_width_that_does_not_split_into_heads_is_refused():
    with pytest.raises(ValueError, match="width 10 does not split into 4 heads"):
        TextEncoderConfig(d_model=10, n_heads=4)


def test_a_unet_width_that_does_not_split_into_heads_is_refused():
    with pytest.raises(ValueError, match="level 0: width 32 does not split into 5 heads"):
        UNetConfig(channels=32, n_heads=5)


def test_a_unet_width_that_does_not_split_into_groups_is_refused():
    with pytest.raises(ValueError, match="level 0: width 40 does not split into 32 groups"):
        UNetConfig(channels=40, n_heads=8)


@pytest.mark.parametrize("level", [-1, 4])
def test_attention_on_a_level_that_is_not_there_is_refused(level):
    with pytest.raises(ValueError, match="for 4 levels"):
        UNetConfig(attention_levels=(level,))


def test_a_unet_and_a_text_encoder_of_different_widths_are_refused():
    with pytest.raises(ValueError, match="d_cond is 1024, the text encoder's d_model 768"):
        replace(sd_v1(), unet=UNetConfig(d_cond=1024))


@pytest.mark.parametrize(
    "part",
    [
        {"unet": {"n_res_blocks": 10**8}},
        {"unet": {"channels": 2**40}},
        {"unet": {"channel_multipliers": [1] * 1000, "attention_levels": []}},
        {"text_encoder": {"n_layers": 10**8}},
        {"text_encoder": {"vocab_size": 10**18}},
        {"autoencoder": {"n_res_blocks": -1}},
    ],
)
def test_impossibly_large_networks_are_refused_before_they_are_built(part):
    with pytest.raises(ValueError, match="expected at most 128 numbers from 0 to"):
        ModelConfig.from_dict(part)


def test_a_unet_and_an_autoencoder_with_different_latents_are_refused():
    with pytest.raises(ValueError, match="latents have 4 channels, the autoencoder's 16"):
        replace(sd_v1(), autoencoder=AutoencoderConfig(z_channels=16))
