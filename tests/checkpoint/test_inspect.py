import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint import inspect_file
from labml_sd.checkpoint.layouts.compvis import OPENCLIP, as_file
from labml_sd.checkpoint.networks import wanted_shapes
from labml_sd.config import inpainting, sd_v1, sd_v2
from labml_sd.errors import CheckpointError

V2_TEXT = ("340,387,840", "  280 tensors")  # four of 23 x 12 + 4 are outside its layers
COUNTS = {
    "Stable Diffusion v1 model": ("859,520,964", "123,060,480", "  196 tensors"),
    "Stable Diffusion v2 model": ("865,910,724", *V2_TEXT),
    "Stable Diffusion v1 in-painting model": ("859,535,364", "123,060,480", "  196 tensors"),
    "Stable Diffusion v2 in-painting model": ("865,925,124", *V2_TEXT),
}
CONFIGS = (sd_v1(), sd_v2(), inpainting(sd_v1()), inpainting(sd_v2()))


@pytest.fixture
def full_size(tmp_path, sparse_file):
    """A file of a model's full shape, as its family's files name the weights."""

    def make(config):
        with torch.device("meta"):
            parts = {
                part: {key: torch.empty(shape) for key, shape in keys.items()}
                for part, keys in wanted_shapes(config).items()
            }
            tensors = as_file(parts, openclip_text=config.unet.linear_projections)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if config.unet.linear_projections:
            shapes[f"{OPENCLIP}transformer.resblocks.23.ln_1.weight"] = (1024,)
        return sparse_file(tmp_path / "x.safetensors", shapes)

    return make


@pytest.mark.parametrize(("config", "title"), [*zip(CONFIGS, COUNTS, strict=True)])
def test_a_full_size_file_has_the_published_counts(full_size, config, title):
    text = inspect_file(full_size(config))
    assert title in text.splitlines()[1] and "CompVis layout" in text.splitlines()[1]
    for count in (*COUNTS[title], "83,653,863", "  686 tensors", "  248 tensors", "float16"):
        assert count in text
    assert "missing 0, extra 0, wrong shape 0" in text


def test_what_the_unet_predicts_is_told_or_that_nothing_tells_it(full_size):
    assert "  predicts the noise (eps), at 512x512 pixels" in inspect_file(full_size(sd_v1()))
    path = full_size(sd_v2())
    assert "predicts the noise or v: no file of SD v2 says which" in inspect_file(path)
    path.with_suffix(".yaml").write_text("model: {params: {parameterization: v}}")
    assert "  predicts v, at 768x768 pixels" in inspect_file(path).splitlines()


def test_the_layer_of_openclip_that_is_not_used_is_listed(full_size):
    text = inspect_file(full_size(sd_v2()))
    assert "ignored, not weights of the model 1:\n" in text
    assert "    cond_stage_model.model.transformer.resblocks.23.ln_1.weight" in text


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
