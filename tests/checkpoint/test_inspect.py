import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint import inspect_file
from labml_sd.checkpoint.layouts.compvis import file_name
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.config import sd_v1
from labml_sd.errors import CheckpointError


def test_a_full_size_file_has_the_published_counts(tmp_path, sparse_file):
    shapes = {
        file_name(part, key): shape
        for part, keys in wanted_shapes(sd_v1()).items()
        for key, shape in keys.items()
    }
    text = inspect_file(sparse_file(tmp_path / "x.safetensors", shapes))
    for count in (
        "859,520,964",
        "83,653,863",
        "123,060,480",
        "  686 tensors",
        "  248 tensors",
        "  196 tensors",
    ):
        assert count in text
    assert "Stable Diffusion v1 model, CompVis layout" in text
    assert "float16" in text


def test_a_folder_is_described(folder):
    assert "diffusers layout" in inspect_file(folder)


def test_what_is_missing_is_named(folder):
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != "conv_out.bias"}, path
    )
    assert "missing 1:\n    unet.out.2.bias" in inspect_file(folder)


def test_what_is_no_model_is_described_and_not_refused(tmp_path):
    torch.save({"lora_unet_a.lora_down.weight": torch.zeros(4, 2)}, tmp_path / "x.pt")
    text = inspect_file(tmp_path / "x.pt")
    assert "LoRA" in text
    assert "1 tensors, 8 parameters, float32" in text


def test_what_is_no_weights_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("hello")
    with pytest.raises(CheckpointError):
        inspect_file(tmp_path / "x")
