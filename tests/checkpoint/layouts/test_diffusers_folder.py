import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint import check, load_model
from labml_sd.errors import CheckpointError

UNET = "unet/diffusion_pytorch_model"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def change(path, rename) -> None:
    tensors = load_file(path)
    path.unlink()
    save_file({rename(name): tensor for name, tensor in tensors.items()}, path)


def test_half_precision_variants_are_found(folder, model, assert_same):
    for name in (f"{UNET}.safetensors", VAE, TEXT):
        path = folder / name
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert_same(load_model(folder), model)


def test_pickled_weights_of_old_folders_are_found(folder, model, assert_same):
    for name, old in (
        (f"{UNET}.safetensors", f"{UNET}.bin"),
        (TEXT, "text_encoder/pytorch_model.bin"),
    ):
        torch.save(load_file(folder / name), folder / old)
        (folder / name).unlink()
    assert_same(load_model(folder), model)


@pytest.mark.parametrize(
    "index", [f"{UNET}.safetensors.index.json", f"{UNET}.safetensors.index.fp16.json"]
)
def test_shards_are_joined(folder, model, assert_same, index):
    tensors = load_file(folder / f"{UNET}.safetensors")
    (folder / f"{UNET}.safetensors").unlink()
    names = sorted(tensors)
    shards = {
        "a-00001-of-00002.safetensors": names[:50],
        "a-00002-of-00002.safetensors": names[50:],
    }
    for shard, inside in shards.items():
        save_file({name: tensors[name] for name in inside}, folder / "unet" / shard)
    weight_map = {name: shard for shard, inside in shards.items() for name in inside}
    (folder / index).write_text(json.dumps({"weight_map": weight_map}))
    assert_same(load_model(folder), model)


def test_old_names_of_the_autoencoders_attention_load(folder, model, assert_same):
    old = {
        ".to_q.": ".query.",
        ".to_k.": ".key.",
        ".to_v.": ".value.",
        ".to_out.0.": ".proj_attn.",
    }

    def rename(name):
        for new, was in old.items():
            name = name.replace(new, was)
        return name

    change(folder / VAE, rename)
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in load_file(folder / VAE)
    assert_same(load_model(folder), model)


def test_text_weights_load_without_their_level_and_with_position_ids(
    folder, model, assert_same
):
    change(folder / TEXT, lambda name: name.removeprefix("text_model."))
    tensors = load_file(folder / TEXT)
    (folder / TEXT).unlink()
    save_file(tensors | {"embeddings.position_ids": torch.arange(77)[None]}, folder / TEXT)
    assert_same(load_model(folder), model)
    assert check(folder).ignored == ("text_encoder: embeddings.position_ids",)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no model_index\.json"):
        load_model(tmp_path)


def test_a_part_of_a_folder_leads_to_the_folder(folder):
    with pytest.raises(CheckpointError, match=rf"it is a part of one, give {folder}$"):
        load_model(folder / "unet")


def test_a_folder_with_a_single_file_in_it_names_the_file(tmp_path):
    (tmp_path / "v1-5.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"give its path, .*v1-5\.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (VAE, "no weights of the autoencoder"),
        ("unet/config.json", "cannot be read"),
        ("tokenizer/merges.txt", "merges"),
    ],
)
def test_a_folder_with_a_part_missing_is_refused(folder, gone, message):
    (folder / gone).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("unet/config.json", "{", "not JSON"),
        ("unet/config.json", "[]", "expected a JSON object"),
        ("unet/config.json", '{"use_linear_projection": 3}', "use_linear_projection"),
        ("text_encoder/config.json", '{"hidden_size": 32}', "contradict each other"),
        (
            "scheduler/scheduler_config.json",
            '{"prediction_type": "sample"}',
            "prediction_type",
        ),
        ("labml_sd.json", '{"guidance_scale": "high"}', "guidance_scale"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_say_its_name_gives_its_own(folder):
    (folder / "labml_sd.json").unlink()
    assert load_model(folder).config.name == "model"


def test_one_weight_under_two_names_is_refused(folder):
    tensors = load_file(folder / VAE)
    (folder / VAE).unlink()
    twice = tensors["decoder.mid_block.attentions.0.to_q.bias"].clone()
    save_file(tensors | {"decoder.mid_block.attentions.0.query.bias": twice}, folder / VAE)
    with pytest.raises(CheckpointError, match="two names for one weight"):
        load_model(folder)
