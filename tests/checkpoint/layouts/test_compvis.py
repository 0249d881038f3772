import pytest

from labml_sd.checkpoint.layouts.compvis import Place, ema_name, find_names, split_name
from labml_sd.errors import CheckpointError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("model.diffusion_model.out.2.bias", ("unet", "out.2.bias")),
        ("first_stage_model.quant_conv.weight", ("autoencoder", "quant_conv.weight")),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            ("text_encoder", "final_layer_norm.bias"),
        ),
        (
            "cond_stage_model.transformer.final_layer_norm.bias",
            ("text_encoder", "final_layer_norm.bias"),
        ),
        (
            "conditioner.embedders.0.transformer.text_model.encoder.x",
            ("text_encoder", "encoder.x"),
        ),
        ("conditioner.embedders.0.transformer.encoder.x", ("text_encoder", "encoder.x")),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", None),
        ("cond_stage_model.transformer.embeddings.position_ids", None),
        ("first_stage_model.loss.logvar", None),
        ("model_ema.decay", None),
        ("alphas_cumprod", None),
    ],
)
def test_a_name_splits_into_part_and_our_name(name, split):
    assert split_name(name) == split


def test_the_name_of_an_average_has_lost_its_dots():
    assert (
        ema_name("input_blocks.0.0.weight") == "model_ema.diffusion_modelinput_blocks00weight"
    )


def test_what_is_no_weight_is_listed():
    found, rest = find_names(["model.diffusion_model.a", "betas", "model_ema.decay"])
    assert found == {
        "text_encoder": {},
        "unet": {"a": Place("model.diffusion_model.a")},
        "autoencoder": {},
    }
    assert rest == ["betas", "model_ema.decay"]


def test_one_weight_under_two_names_is_refused():
    prefix = "cond_stage_model.transformer."
    with pytest.raises(CheckpointError, match=r"are the weight encoder\.x"):
        find_names([f"{prefix}encoder.x", f"{prefix}text_model.encoder.x"])
