from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint import load_model, save_model
from labml_sd.checkpoint.layouts.diffusers import name_map
from labml_sd.errors import CheckpointError
from labml_sd.pipeline import txt2img


@pytest.fixture
def other(model, randomise):
    """The autoencoder's weights of another model."""
    with torch.no_grad():
        return {key: 2 * value for key, value in model.autoencoder.state_dict().items()}


def in_diffusers(weights, config):
    names = name_map("autoencoder", weights, config)
    return {names[key]: value for key, value in weights.items()}


def prefixed(prefix):
    return lambda weights, _: {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    "write",
    [prefixed(""), prefixed("first_stage_model."), prefixed("vae."), in_diffusers],
    ids=["bare", "first_stage_model", "vae", "diffusers"],
)
def test_an_autoencoder_of_any_naming_takes_the_place_of_the_models(
    folder, other, config, tmp_path, write
):
    path = tmp_path / "ft-mse.safetensors"
    beside = {"model_ema.decay": torch.ones(1), "loss.logvar": torch.ones(1)}
    save_file(write(other, config) | beside, path)
    loaded = load_model(folder, vae=path, device="cpu", dtype="float32")
    found = loaded.autoencoder.state_dict()
    assert [key for key in other if not torch.equal(found[key], other[key])] == []
    plain = load_model(folder, device="cpu", dtype="float32")
    assert torch.equal(loaded.unet.out[2].bias, plain.unet.out[2].bias)


def test_a_part_can_come_from_a_whole_model_or_a_folder(model, folder, tmp_path, randomise):
    path = tmp_path / "whole.safetensors"
    changed = load_model(folder, device="cpu", dtype="float32")
    randomise(changed)
    save_model(changed, path, layout="compvis")
    save_model(changed, tmp_path / "whole")
    for name, source in (
        ("unet", path),
        ("text_encoder", path),
        ("vae", tmp_path / "whole/vae"),
    ):
        loaded = load_model(folder, device="cpu", dtype="float32", **{name: source})
        part = {"vae": "autoencoder"}.get(name, name)
        ours, theirs = loaded.state_dict(), changed.state_dict()
        keys = [key for key in ours if key.startswith(part)]
        assert keys
        assert all(torch.equal(ours[key], theirs[key]) for key in keys)
        others = [key for key in ours if not key.startswith(part)]
        assert any(not torch.equal(ours[key], theirs[key]) for key in others)


def test_the_scale_of_a_folders_vae_is_taken(model, folder, tmp_path):
    scaled = load_model(folder, device="cpu", dtype="float32")
    vae = replace(scaled.config.autoencoder, scale_factor=0.25)
    scaled.config = replace(scaled.config, autoencoder=vae)
    save_model(scaled, tmp_path / "scaled")
    loaded = load_model(folder, vae=tmp_path / "scaled" / "vae", device="cpu")
    assert loaded.config.autoencoder.scale_factor == 0.25


def test_its_name_and_hash_are_in_the_picture(folder, other, tmp_path):
    path = tmp_path / "ft-mse.safetensors"
    save_file(other, path)
    loaded = load_model(folder, vae=path, device="cpu", dtype="float32")
    (image,) = txt2img(loaded, "a", steps=1, progress=False)
    assert "VAE: ft-mse.safetensors" in image.info["parameters"]
    assert f"VAE hash: {loaded.vae_file.hash}" in image.info["parameters"]
    (plain,) = txt2img(load_model(folder), "a", steps=1, progress=False)
    assert "VAE" not in plain.info["parameters"]


def test_a_vae_with_other_latent_channels_is_refused_in_one_line(folder, other, tmp_path):
    path = tmp_path / "wide.safetensors"
    weight = other["decoder.conv_in.weight"]
    save_file(other | {"decoder.conv_in.weight": weight.repeat(1, 4, 1, 1)}, path)
    with pytest.raises(CheckpointError, match=r"VAE with 16 latent channels; the model needs"):
        load_model(folder, vae=path)


def test_a_folder_whose_vae_has_other_latent_channels_is_refused_in_one_line(folder):
    path = folder / "vae" / "config.json"
    path.write_text(path.read_text().replace('"latent_channels": 4', '"latent_channels": 16'))
    with pytest.raises(CheckpointError, match=r"latents have 4 channels, the autoencoder's 16"):
        load_model(folder)
    with pytest.raises(
        CheckpointError, match=r"16 latent channels; the model needs one with 4"
    ):
        load_model("tiny", vae=folder / "vae")


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder"])
def test_another_kind_of_file_in_place_of_a_part_is_named(folder, tmp_path, part):
    path = tmp_path / "style.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match=r"style\.safetensors: has no weights .*: LoRA$"):
        load_model(folder, **{part: path})


def test_a_part_that_does_not_fit_is_named_with_its_own_file(folder, model, tmp_path):
    path = tmp_path / "unet.safetensors"
    save_file(model.unet.state_dict() | {"out.2.bias": torch.zeros(7)}, path)
    with pytest.raises(CheckpointError, match=r"with .*unet\.safetensors: does not fit small"):
        load_model(folder, unet=path)


@pytest.mark.parametrize("damage", ["missing", "extra", "empty", "absent"])
def test_a_file_that_does_not_fit_is_refused_by_its_name(folder, other, tmp_path, damage):
    path, key = tmp_path / "vae.safetensors", "decoder.conv_out.bias"
    tensors = dict(other)
    if damage == "missing":
        del tensors[key]
    elif damage == "extra":
        tensors["decoder.more.weight"] = torch.ones(3)
    elif damage == "empty":
        tensors = {"loss.a": torch.ones(1)}
    if damage != "absent":
        save_file(tensors, path)
    wanted = {"missing": key, "extra": "decoder.more.weight", "empty": "no weights of the auto"}
    with pytest.raises(CheckpointError, match=wanted.get(damage, "there is no such file")) as e:
        load_model(folder, vae=path)
    assert "\n" not in str(e.value)


def test_nothing_of_the_model_itself_is_changed(folder, other, tmp_path):
    path = tmp_path / "vae.safetensors"
    save_file(other, path)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = load_file(file)
    load_model(folder, vae=path, device="cpu")
    assert all(torch.equal(before[key], value) for key, value in load_file(file).items())


def test_the_settings_of_something_else_beside_a_file_are_not_read(folder, other, tmp_path):
    save_file(other, tmp_path / "vae.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    loaded = load_model(folder, vae=tmp_path / "vae.safetensors", device="cpu")
    assert loaded.config.autoencoder == load_model(folder, device="cpu").config.autoencoder
