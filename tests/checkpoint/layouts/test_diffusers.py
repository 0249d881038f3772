import diffusers
import pytest
import torch
import transformers

from labml_sd.checkpoint.layouts.diffusers import modern_name, name_map
from labml_sd.checkpoint.layouts.write_configs import (
    write_autoencoder,
    write_text_encoder,
    write_unet,
)
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.config import (
    AutoencoderConfig,
    ModelConfig,
    TextEncoderConfig,
    UNetConfig,
    sd_v1,
    tiny,
)

SMALL_TEXT = TextEncoderConfig(
    vocab_size=520, d_model=16, n_layers=2, n_heads=2, d_mlp=32, bos_id=518, eos_id=519
)


def small(unet, vae) -> ModelConfig:
    return ModelConfig(
        text_encoder=SMALL_TEXT,
        unet=UNetConfig(channels=8, n_heads=2, d_cond=16, norm_groups=4, **unet),
        autoencoder=AutoencoderConfig(channels=8, norm_groups=4, **vae),
    )


CONFIGS = {
    "sd_v1": sd_v1(),
    "tiny": tiny(520),
    "one level": small(
        {"channel_multipliers": (1,), "attention_levels": (0,), "n_res_blocks": 1},
        {"channel_multipliers": (1,), "n_res_blocks": 1},
    ),
    "five levels": small(
        {"channel_multipliers": (1, 1, 2, 2, 3), "attention_levels": (1, 4), "n_res_blocks": 3},
        {"channel_multipliers": (1, 2, 3), "n_res_blocks": 3},
    ),
    "two transformer layers": small({"n_transformer_layers": 2}, {}),
}


def their_shapes(part: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """What the reference library builds from our settings."""
    with torch.device("meta"):
        if part == "unet":
            net = diffusers.UNet2DConditionModel.from_config(write_unet(config))
        elif part == "autoencoder":
            net = diffusers.AutoencoderKL.from_config(write_autoencoder(config))
        else:
            net = transformers.CLIPTextModel(
                transformers.CLIPTextConfig(**write_text_encoder(config))
            )
    return {modern_name(part, name): tuple(t.shape) for name, t in net.state_dict().items()}


@pytest.mark.parametrize("part", ["text_encoder", "unet", "autoencoder"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_map_leads_to_the_names_and_shapes_of_the_reference(name, part):
    config = CONFIGS[name]
    ours = wanted_shapes(config)[part]
    names = name_map(part, ours, config)
    mapped = {names[key]: shape for key, shape in ours.items()}
    theirs = their_shapes(part, config)
    assert len(mapped) == len(ours)
    assert mapped.keys() == theirs.keys()
    flat = {
        name: shape[:2] if ".attentions." in name and part == "autoencoder" else shape
        for name, shape in mapped.items()
    }
    assert flat == theirs


def test_sd_v1_has_the_published_numbers_of_tensors():
    shapes = wanted_shapes(sd_v1())
    counts = {
        part: len(set(name_map(part, keys, sd_v1()).values())) for part, keys in shapes.items()
    }
    assert counts == {"text_encoder": 196, "unet": 686, "autoencoder": 248}


@pytest.mark.parametrize(
    ("old", "new"),
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")],
)
def test_old_names_of_the_autoencoders_attention_are_understood(old, new):
    front = "decoder.mid_block.attentions.0"
    assert modern_name("autoencoder", f"{front}.{old}.weight") == f"{front}.{new}.weight"
    assert modern_name("autoencoder", f"{front}.{new}.weight") == f"{front}.{new}.weight"


def test_text_names_are_understood_with_and_without_their_level():
    assert modern_name("text_encoder", "encoder.x") == modern_name(
        "text_encoder", "text_model.encoder.x"
    )
