import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from labml_sd.errors import CheckpointError
from labml_sd.interrogator.image_tower import ImageTower, ImageTowerConfig
from labml_sd.interrogator.tower_file import (
    bundled_tower,
    fingerprint,
    load_tower,
    save_tower,
)
from labml_sd.text_encoder import CLIPTextTransformer


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return ImageTower(ImageTowerConfig(d_text=16, d_embed=8, grid=32, channels=8, d_hidden=12))


@pytest.fixture
def text(model):
    return model.text_encoder.transformer


def test_a_tower_is_read_back(tower, text, tmp_path):
    save_tower(tower, text, tmp_path / "tower.safetensors")
    again = load_tower(tmp_path / "tower.safetensors", text)
    assert again.config == tower.config and not again.training
    for name, weight in tower.named_parameters():
        assert torch.equal(dict(again.named_parameters())[name], weight.half().float())
    assert not any(weight.requires_grad for weight in again.parameters())


def test_a_tower_fits_one_text_transformer_only(tower, text, small_config, tmp_path):
    save_tower(tower, text, tmp_path / "tower.safetensors")
    torch.manual_seed(7)
    other = CLIPTextTransformer(small_config.text_encoder)
    with pytest.raises(CheckpointError, match="was trained for another text encoder"):
        load_tower(tmp_path / "tower.safetensors", other)


def test_the_fingerprint_is_that_of_the_stored_numbers(text):
    rounded = CLIPTextTransformer(text.config)
    rounded.load_state_dict(text.state_dict())
    assert fingerprint(rounded.half()) == fingerprint(text)
    with torch.no_grad():
        rounded.final_layer_norm.bias[0] += 1
    assert fingerprint(rounded) != fingerprint(text)


def test_files_of_another_kind_are_refused(tower, text, tmp_path):
    path = tmp_path / "tower.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        load_tower(path, text)
    path.write_bytes(b"not at all")
    with pytest.raises(CheckpointError, match=r"tower\.safetensors"):
        load_tower(path, text)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is not an image tower"):
        load_tower(path, text)


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        "{",
        '{"channels": "many"}',
        '{"channels": -1}',
        '{"d_text": 1e9}',
        '{"channels": 9}',
    ],
)
def test_a_configuration_that_is_none_is_refused(tower, text, tmp_path, config):
    save_file({"weight": torch.ones(2)}, tmp_path / "x", metadata={"image_tower": config})
    with pytest.raises(CheckpointError, match="is not an image tower"):
        load_tower(tmp_path / "x", text)


def test_a_file_that_claims_to_be_huge_takes_no_memory(text, tmp_path):
    config = '{"d_text": 1048576, "d_embed": 1048576, "d_hidden": 1048576}'
    save_file({"weight": torch.ones(2)}, tmp_path / "x", metadata={"image_tower": config})
    with pytest.raises(CheckpointError, match="its tensors are not those"):
        load_tower(tmp_path / "x", text)


def test_missing_and_misshapen_tensors_are_refused(tower, text, tmp_path):
    path = tmp_path / "tower.safetensors"
    save_tower(tower, text, path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    for wrong in (None, torch.zeros(3, 3)):
        tensors.pop("text_projection.weight", None)
        if wrong is not None:
            tensors["text_projection.weight"] = wrong
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="its tensors are not those"):
            load_tower(path, text)


def test_a_folder_that_is_missing_is_named(tower, text, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_tower(tower, text, tmp_path / "missing" / "tower.safetensors")


def test_the_bundled_tower_is_small():
    assert bundled_tower().stat().st_size < 3_000_000
