import hashlib

import pytest

from labml_sd.checkpoint import model_hash
from labml_sd.checkpoint.sources import locate, open_source
from labml_sd.errors import CheckpointError


def test_tiny_is_the_bundled_folder():
    assert locate("tiny").parts[-3:] == ("labml_sd", "models", "tiny")


def test_what_lies_on_the_disk_goes_before_the_hub(tmp_path, monkeypatch):
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").resolve() == tmp_path / "owner/name"


@pytest.mark.parametrize("source", ["nothing.safetensors", "folder/nothing.ckpt", "/no/such/place", "notiny"])
def test_a_missing_file_is_refused_without_asking_the_hub(source):
    with pytest.raises(CheckpointError, match="there is no such file"):
        locate(source)


def test_a_folder_holds_no_averages(folder):
    with pytest.raises(CheckpointError, match="without ema=True"):
        open_source(folder, ema=True)


def test_the_hash_is_the_start_of_the_sha256_of_the_file(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    expected = hashlib.sha256(file.read_bytes()).hexdigest()[:10]
    assert model_hash(file) == model_hash(folder) == expected


def test_there_is_no_hash_of_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        model_hash(tmp_path)
