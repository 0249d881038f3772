import os

import pytest

from labml_sd.checkpoint import load_model, model_hash, save_model
from labml_sd.pipeline import read_parameters, txt2img
from labml_sd.pipeline.parameters import pixels_sha256


@pytest.fixture
def files(make_model, tmp_path):
    """Two models in files of the same name."""
    model = make_model()
    (tmp_path / "other").mkdir()
    save_model(model, tmp_path / "m.safetensors", layout="compvis")
    model.unet.out[2].bias += 1
    save_model(model, tmp_path / "other/m.safetensors", layout="compvis")
    return tmp_path


def drawn_hash(model):
    (image,) = txt2img(model, "a house", steps=1, progress=False)
    return read_parameters(image).model_hash


@pytest.fixture
def load(small_config, tokenizer_folder):
    return lambda path: load_model(path, config=small_config, tokenizer=tokenizer_folder)


@pytest.mark.parametrize("folder", ["other", "/"])
def test_the_hash_is_that_of_the_file_that_was_loaded_after_a_change_of_folder(
    files, load, monkeypatch, folder
):
    monkeypatch.chdir(files)
    model = load("m.safetensors")
    monkeypatch.chdir(folder)
    assert drawn_hash(model) == model_hash(files / "m.safetensors")


def test_a_file_that_was_replaced_has_no_hash(files, load):
    model = load(files / "m.safetensors")
    os.replace(files / "other/m.safetensors", files / "m.safetensors")
    assert drawn_hash(model) is None


def test_a_model_that_came_from_no_file_has_no_hash(model):
    assert drawn_hash(model) is None


def test_the_hash_of_pixels_tells_their_mode_and_size(photo):
    image = photo(6, 4)
    others = [image.convert("L"), image.transpose(2), image.resize((4, 6)), photo(4, 6)]
    assert len({pixels_sha256(each) for each in (image, image.copy(), *others)}) == 5
