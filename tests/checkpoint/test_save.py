from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file

from labml_sd.checkpoint import load_model, save, save_model
from labml_sd.checkpoint.sources import to_path
from labml_sd.errors import CheckpointError
from labml_sd.sampler.schedule import Schedule

PLACES = {"diffusers": "model", "compvis": "model.safetensors"}


@pytest.mark.parametrize("layout", PLACES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_saved_loads_bit_for_bit(tmp_path, folder, layout, dtype, assert_same):
    model = load_model(folder, dtype=dtype)
    save_model(model, tmp_path / PLACES[layout], layout)
    found = load_model(tmp_path / PLACES[layout], dtype=dtype)
    assert found.config == model.config
    assert_same(found, model)


@pytest.mark.parametrize("layout", PLACES)
def test_saving_over_the_file_that_was_loaded_is_safe(tmp_path, model, layout, assert_same):
    path = tmp_path / PLACES[layout]
    save_model(model, path, layout)
    save_model(load_model(path), path, layout)
    assert_same(load_model(path), model)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_model_that_is_saved_again_has_the_same_bytes(tmp_path, model):
    files = [tmp_path / f"{i}.safetensors" for i in range(8)]  # one order in 6 is the right one
    for file in files:
        save_model(model, file, "compvis")
    assert len({file.read_bytes() for file in files}) == 1


def test_diffusers_opens_the_folder(folder, words, model):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert pipe.vae_scale_factor == model.config.autoencoder.downsampling_factor
    assert pipe.vae.config.scaling_factor == model.config.autoencoder.scale_factor
    assert pipe.tokenizer.model_max_length == 77
    torch.testing.assert_close(
        pipe.scheduler.alphas_cumprod,
        Schedule(model.config.schedule).alpha_bar.float(),
        rtol=1e-5,
        atol=1e-7,
    )


def test_the_reference_networks_compute_the_same_from_the_folder(folder, config):
    model = load_model(folder, dtype="float64")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet").double()
    vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae").double()
    text = transformers.CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=generator)
    image = torch.randn(1, 3, 16, 16, dtype=torch.float64, generator=generator)
    ids = torch.tensor([[514, 3, 9, *[515] * 74]])
    with torch.no_grad():
        c = model.text_encoder.transformer(ids)
        torch.testing.assert_close(c, text(ids).last_hidden_state)
        torch.testing.assert_close(
            model(x, torch.tensor([7]), c), unet(x, torch.tensor([7]), c).sample
        )
        z = vae.encode(image).latent_dist.mean * config.autoencoder.scale_factor
        torch.testing.assert_close(model.encode_image(image), z)
        torch.testing.assert_close(
            model.decode_latent(z), vae.decode(z / config.autoencoder.scale_factor).sample
        )


def test_text_weights_are_written_with_the_level_that_all_readers_know(folder):
    assert all(
        name.startswith("text_model.")
        for name in load_file(folder / "text_encoder/model.safetensors")
    )


def test_a_folder_with_other_things_in_it_is_refused(tmp_path, model):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="other things"):
        save_model(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("place", "layout", "message"),
    [
        ("file", "diffusers", "is a file"),
        ("file", "compvis", "ends in .safetensors"),
        ("folder.safetensors", "compvis", "is a folder"),
        ("new", "onnx", "layout 'onnx' is unknown"),
        ("file/below", "diffusers", "cannot be written"),
    ],
)
def test_a_place_that_is_taken_is_refused(tmp_path, model, place, layout, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=message):
        save_model(model, tmp_path / place, layout)


@pytest.mark.parametrize("layout", PLACES)
@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left"), CheckpointError), (KeyboardInterrupt(),) * 2],
)
def test_a_failed_save_leaves_nothing_behind(
    tmp_path, model, monkeypatch, layout, error, raised
):
    def fails(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(save, "save_file", fails)
    with pytest.raises(raised if isinstance(raised, type) else type(raised)):
        save_model(model, tmp_path / PLACES[layout], layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["diffusers", "compvis"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "a\0b",
        "~nobody-of-this-name/m.safetensors",
        b"\xff".decode("utf-8", "surrogateescape"),
    ],
)
def test_what_is_not_a_path_is_refused_in_one_line(model, path, layout):
    for call in (
        lambda: save_model(model, path, layout=layout),
        lambda: load_model(path),
    ):
        with pytest.raises(CheckpointError) as error:
            call()
        assert "\n" not in str(error.value)
        assert "; give " in str(error.value) or str(error.value).endswith("; rename it")


def test_the_current_folder_can_be_saved_to(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # a new model, and one that is replaced
        save_model(model, ".")
        assert load_model(".").config == model.config
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("value", [None, 7, b"bytes", ["a"]])
def test_what_is_not_a_text_is_not_a_path(value):
    with pytest.raises(CheckpointError, match=r"^the path is .*; give a file$"):
        to_path(value, "a file")
