import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint import check, load_model, save_model
from labml_sd.checkpoint.layouts.compvis import ema_name
from labml_sd.errors import CheckpointError

TEXT = "cond_stage_model.transformer.text_model."
BUFFERS = {"betas": torch.zeros(4), "alphas_cumprod": torch.zeros(4), "logvar": torch.zeros(4)}


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "stream"])
def test_a_ckpt_loads_with_all_that_training_left_in_it(
    tmp_path, state, config, words, model, assert_same, as_zip
):
    value = {"global_step": 3, "state_dict": state | BUFFERS, "hyper_parameters": {"a": [1]}}
    torch.save(value, tmp_path / "x.ckpt", _use_new_zipfile_serialization=as_zip)
    assert_same(load_model(tmp_path / "x.ckpt", config=config, tokenizer=words), model)
    assert set(check(tmp_path / "x.ckpt", config=config).ignored) == set(BUFFERS)


@pytest.mark.parametrize(
    "prefix",
    [
        "cond_stage_model.transformer.",
        "conditioner.embedders.0.transformer.text_model.",
        "conditioner.embedders.0.transformer.",
    ],
)
def test_text_weights_load_under_every_prefix(
    tmp_path, state, config, words, model, assert_same, prefix
):
    renamed = {name.replace(TEXT, prefix): tensor for name, tensor in state.items()}
    renamed[f"{prefix}embeddings.position_ids"] = torch.arange(77.0).half()[None]
    save_file(renamed, tmp_path / "x.safetensors")
    assert_same(load_model(tmp_path / "x.safetensors", config=config, tokenizer=words), model)


def test_averages_are_taken_only_when_asked_for(tmp_path, state, config, words, model):
    keys = [
        name.removeprefix("model.diffusion_model.")
        for name in state
        if name.startswith("model.diffusion_model.")
    ]
    averages = {ema_name(key): state[f"model.diffusion_model.{key}"] + 1 for key in keys}
    extra = {"model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(3)}
    save_file(state | averages | extra, tmp_path / "x.safetensors")
    plain = load_model(tmp_path / "x.safetensors", config=config, tokenizer=words)
    averaged = load_model(tmp_path / "x.safetensors", config=config, tokenizer=words, ema=True)
    for key, weight in model.unet.state_dict().items():
        assert torch.equal(plain.unet.state_dict()[key], weight)
        assert torch.equal(averaged.unet.state_dict()[key], weight + 1)


def test_a_file_without_averages_says_so(tmp_path, state, config):
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="no averaged"):
        check(tmp_path / "x.safetensors", config=config, ema=True)


def test_our_own_file_needs_nothing_beside_it(tmp_path, model, assert_same):
    save_model(model, tmp_path / "x.safetensors", layout="compvis")
    found = load_model(tmp_path / "x.safetensors")
    assert found.config == model.config
    assert_same(found, model)
    prompt = ["a red house"]
    assert torch.equal(found.encode_prompt(prompt), model.encode_prompt(prompt))


def test_a_file_of_another_size_is_held_against_sd_v1(tmp_path, state):
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(
        CheckpointError, match=r"does not fit sd-v1: wrong shape .*expected \[49408, 768\]"
    ) as caught:
        load_model(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"unet": {"nonsense": 1}}', '{"unet": 3}'])
def test_a_damaged_configuration_inside_is_refused(tmp_path, state, text):
    save_file(state, tmp_path / "x.safetensors", metadata={"labml_sd.config": text})
    with pytest.raises(CheckpointError, match=r"labml_sd.config is damaged"):
        load_model(tmp_path / "x.safetensors")


def test_a_lora_is_refused_as_a_model(tmp_path):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="LoRA: expected a whole model"):
        load_model(tmp_path / "model.safetensors")


def test_other_families_are_recognised_and_refused(tmp_path):
    unet = "model.diffusion_model.input_blocks."
    tensors = {
        f"{unet}0.0.weight": torch.zeros(8, 4, 3, 3),
        f"{unet}1.1.proj_in.weight": torch.zeros(8, 8),
        f"{unet}1.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(8, 2048),
    }
    save_file(tensors, tmp_path / "sd-v1-5.safetensors")
    with pytest.raises(CheckpointError, match="Stable Diffusion XL model: not supported"):
        load_model(tmp_path / "sd-v1-5.safetensors")
