import json
import os
import pickle
import zipfile

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.errors import CheckpointError


def test_the_content_decides_and_not_the_name(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "really_safe.ckpt")
    torch.save({"b": torch.ones(1)}, tmp_path / "really_torch.safetensors")
    assert list(open_weights(tmp_path / "really_safe.ckpt").tensors) == ["a"]
    assert list(open_weights(tmp_path / "really_torch.safetensors").tensors) == ["b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <HTML><head>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "git lfs pull"),
        (b"hello", "neither a safetensors file nor a torch checkpoint"),
        (b"\0" * 600, "neither a safetensors file nor a torch checkpoint"),
        (b"GGUF\3\0\0\0", "GGUF"),
        (
            b"sys_info".ljust(257, b"\0") + b"ustar\00000",
            "a tar archive, as torch wrote before",
        ),
        (pickle.dumps({"a": 1}, 0), "neither a safetensors file nor a torch checkpoint"),
    ],
)
def test_what_is_no_model_is_named_on_one_line(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_weights(path)
    assert "\n" not in str(caught.value)


def test_a_picture_is_named(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png")
    with pytest.raises(CheckpointError, match="PNG picture"):
        open_weights(tmp_path / "x.png")


def test_a_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"a zip that torch\.save did not write"):
        open_weights(tmp_path / "x.ckpt")


def test_a_missing_file_and_a_folder_are_checkpoint_errors(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        open_weights(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_weights(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="is a pipe or a device"):
        open_weights(tmp_path / "x.ckpt")


def test_an_index_opens_its_shards(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "x-1.safetensors")
    save_file({"b": torch.zeros(1)}, tmp_path / "x-2.safetensors")
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}})
    )
    weights = open_weights(index)
    assert {name: weights.read(name).item() for name in weights.tensors} == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "weight_map"),
        ("[]", "weight_map"),
        ("no json", "weight_map"),
        ('{"weight_map": {"a": "../x"}}', "outside its own folder"),
        ('{"weight_map": {"a": 3}}', "outside its own folder"),
        ('{"weight_map": {"a": ".."}}', "outside its own folder"),
        ('{"weight_map": {"a": "x\\u0000"}}', "outside its own folder"),
        ('{"weight_map": {"a": "\\ud800"}}', "outside its own folder"),
        ('{"weight_map": {"a": "x.index.json"}}', "outside its own folder"),  # itself
        ("[" * 100_000, "weight_map"),
        (" " * 2**24 + "{}", "too long for an index"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "no such file"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, text, message):
    path = tmp_path / "x.index.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_weights(path)
    assert "\n" not in str(caught.value)
