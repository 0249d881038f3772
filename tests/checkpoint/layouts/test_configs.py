from dataclasses import replace

import pytest

from labml_sd.checkpoint.layouts import read_configs, write_configs
from labml_sd.checkpoint.layouts.read_configs import Fields
from labml_sd.config import (
    AutoencoderConfig,
    ModelConfig,
    UNetConfig,
    inpainting,
    sd_v1,
    sd_v2,
    tiny,
)
from labml_sd.errors import CheckpointError

OTHER = ModelConfig(
    unet=UNetConfig(attention_levels=(3,), n_res_blocks=1, n_heads=4, n_transformer_layers=2)
)


@pytest.mark.parametrize(
    "config", [sd_v1(), sd_v2(), tiny(), OTHER], ids=["v1", "v2", "tiny", "other"]
)
@pytest.mark.parametrize("part", ["unet", "autoencoder", "text_encoder", "schedule"])
def test_what_is_written_reads_back_equal(config, part):
    values = getattr(write_configs, f"write_{part}")(config)
    wanted = getattr(config, part)
    if part == "text_encoder":  # the padding is in the tokenizer's folder
        wanted = replace(wanted, pad_id=None)
    assert getattr(read_configs, f"read_{part}")(Fields("x", values)) == wanted


def test_the_official_settings_of_v1_give_sd_v1():
    unet = {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False,
        "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    }
    text = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    vae = {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
    }
    assert read_configs.read_unet(Fields("x", unet)) == sd_v1().unet
    assert read_configs.read_text_encoder(Fields("x", text)) == sd_v1().text_encoder
    assert read_configs.read_autoencoder(Fields("x", vae)) == sd_v1().autoencoder


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("unet", "use_linear_projection", "yes"),
        ("unet", "attention_head_dim", [5, 10, 20, 30]),
        ("unet", "attention_head_dim", [5, 10, 20]),
        ("unet", "class_embed_type", "timestep"),
        ("unet", "act_fn", "gelu"),
        ("unet", "norm_eps", 1e-6),
        ("unet", "flip_sin_to_cos", False),
        ("unet", "down_block_types", ["DownBlock2D"]),
        ("unet", "down_block_types", ["AttnDownBlock2D"] * 4),
        ("unet", "up_block_types", ["UpBlock2D"] * 4),
        ("unet", "block_out_channels", [320, 500, 1280, 1280]),
        ("unet", "block_out_channels", []),
        ("unet", "in_channels", "4"),
        ("unet", "cross_attention_dim", 0),
        ("unet", "layers_per_block", True),
        ("autoencoder", "shift_factor", 0.1),
        ("autoencoder", "use_quant_conv", False),
        ("autoencoder", "scaling_factor", -1),
        ("autoencoder", "out_channels", 4),
        ("autoencoder", "down_block_types", ["AttnDownEncoderBlock2D"]),
        ("text_encoder", "hidden_act", "relu"),
        ("text_encoder", "hidden_size", None),
        ("schedule", "beta_schedule", "linear"),
        ("schedule", "beta_end", "0.012"),
    ],
)
def test_a_value_the_networks_cannot_have_is_refused_by_its_name(part, field, value):
    values = getattr(write_configs, f"write_{part}")(sd_v1()) | {field: value}
    with pytest.raises(CheckpointError, match=f"folder/config.json: {field} is ") as caught:
        getattr(read_configs, f"read_{part}")(Fields("folder/config.json", values))
    assert "\n" not in str(caught.value)


def test_a_number_of_heads_may_be_a_list_of_equal_numbers():
    values = write_configs.write_unet(sd_v1()) | {"attention_head_dim": [8, 8, 8, 8]}
    assert read_configs.read_unet(Fields("x", values)).n_heads == 8


@pytest.mark.parametrize(
    ("part", "network"), [("unet", UNetConfig), ("autoencoder", AutoencoderConfig)]
)
def test_a_width_that_diffusers_cannot_say_is_refused(part, network):
    config = ModelConfig(**{part: network(channel_multipliers=(2, 4, 4, 4))})
    with pytest.raises(CheckpointError, match="layout='compvis'"):
        getattr(write_configs, f"write_{part}")(config)


def test_the_heads_of_sd_v2_are_of_one_size():
    values = write_configs.write_unet(sd_v2())
    assert values["attention_head_dim"] == [5, 10, 20, 20]
    assert values["use_linear_projection"]
    assert read_configs.read_unet(Fields("here", values)) == sd_v2().unet


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_what_is_predicted_is_written_and_read(prediction):
    values = write_configs.write_schedule(sd_v2(prediction))
    assert read_configs.read_prediction(Fields("here", values)) == prediction


def test_another_prediction_is_refused():
    with pytest.raises(CheckpointError, match="prediction_type is 'sample'"):
        read_configs.read_prediction(Fields("here", {"prediction_type": "sample"}))


def test_a_schedule_that_ends_in_pure_noise_is_written_and_read():
    schedule = replace(sd_v2().schedule, zero_snr=True)
    values = write_configs.write_schedule(replace(sd_v2(), schedule=schedule))
    assert read_configs.read_schedule(Fields("here", values)) == schedule


def test_an_in_painting_model_is_named_by_its_pipeline():
    for config, name in ((sd_v1(), ""), (inpainting(sd_v1()), "Inpaint")):
        index = write_configs.write_index(config)
        assert index["_class_name"] == f"StableDiffusion{name}Pipeline"
