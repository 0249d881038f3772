"""Folders as the installed diffusers and transformers write them, in all their variants."""

import inspect
import json
import os
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

import labml_sd as sd
from labml_sd.checkpoint.inspect import inspect_file
from labml_sd.errors import CheckpointError

VARIANTS = {
    "plain": {},
    "fp16": {"variant": "fp16"},
    "sharded": {"max_shard_size": "20KB"},
    "sharded fp16": {"variant": "fp16", "max_shard_size": "20KB"},
    "bin": {"safe_serialization": False},
    "bin sharded": {"safe_serialization": False, "max_shard_size": "20KB"},
}


@pytest.fixture(scope="module")
def pipeline(make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    sd.save_model(make_model(), folder / "model")
    return StableDiffusionPipeline.from_pretrained(folder / "model", safety_checker=None)


@pytest.fixture(scope="module")
def theirs(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs") / "model"
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_of_todays_diffusers_loads(pipeline, make_model, tmp_path, variant):
    model = make_model()
    pipeline.save_pretrained(tmp_path / "model", **VARIANTS[variant])
    assert not (tmp_path / "model/tokenizer/vocab.json").exists()  # else this tests nothing new
    assert sd.check(tmp_path / "model").ok
    loaded = sd.load_model(tmp_path / "model")
    ours, found = model.unet.state_dict(), loaded.unet.state_dict()
    assert all(torch.equal(ours[name], found[name]) for name in ours)
    words = "a Red house — in the SNOW, 1234 <|endoftext|> 雪"
    assert torch.equal(loaded.text_encoder.ids([words]), model.text_encoder.ids([words]))
    drawn = [
        sd.txt2img(m, words, steps=1, guidance_scale=3, progress=False)[0]
        for m in (model, loaded)
    ]
    assert np.array_equal(*map(np.asarray, drawn))


def break_the_tokenizer(folder):
    (folder / "tokenizer/tokenizer.json").write_text("{")


def remove_the_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


def take_another_tokenizer(folder):
    path = folder / "tokenizer/tokenizer.json"
    values = json.loads(path.read_text("utf-8"))
    values["model"]["vocab"]["further"] = len(values["model"]["vocab"]) + 2
    path.write_text(json.dumps(values), "utf-8")


@pytest.mark.parametrize(
    "change", [break_the_tokenizer, remove_the_tokenizer, take_another_tokenizer]
)
def test_check_and_inspect_say_of_a_tokenizer_what_loading_says(theirs, tmp_path, change):
    folder = tmp_path / "model"
    shutil.copytree(theirs, folder)
    change(folder)
    with pytest.raises(CheckpointError) as error:
        sd.load_model(folder)
    report = sd.check(folder)
    assert not report.ok
    assert report.short() == report.tokenizer == str(error.value)
    assert f"tokenizer: {error.value}" in inspect_file(folder)


def test_a_mapped_model_survives_another_file_in_its_place(make_model, tmp_path):
    path = tmp_path / "model.safetensors"
    sd.save_model(make_model(), path, layout="compvis")
    model = sd.load_model(path, mmap=True)
    before = model.unet.out[2].weight.clone()
    sd.save_model(make_model(), path, layout="compvis")
    assert torch.equal(model.unet.out[2].weight, before)


def test_without_mapping_a_file_may_be_overwritten(make_model, tmp_path):
    path = tmp_path / "model.safetensors"
    sd.save_model(make_model(), path, layout="compvis")
    model = sd.load_model(path, mmap=False)
    before = model.unet.out[2].weight.clone()
    os.truncate(path, 1000)
    assert torch.equal(model.unet.out[2].weight, before)


@pytest.mark.parametrize("name", ["fast", "offload", "mmap"])
def test_a_switch_that_is_not_true_or_false_is_refused(name):
    with pytest.raises(CheckpointError, match=rf"^{name} is 1; give True or False$"):
        inspect.unwrap(sd.load_model)(**{name: 1})
