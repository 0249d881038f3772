import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint import check, load, load_model
from labml_sd.checkpoint.files.safetensors_file import read_safetensors
from labml_sd.checkpoint.files.weights import Stored
from labml_sd.errors import CheckpointError
from labml_sd.unet import UNet
from labml_sd.utilities.device import DTYPES


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", torch.float16])
def test_weights_are_converted_while_they_are_read(folder, model, dtype):
    found = load_model(folder, dtype=dtype)
    wanted, weights = DTYPES.get(dtype, dtype), found.state_dict()
    for key, weight in model.state_dict().items():
        assert torch.equal(weights[key], weight.to(wanted))


def test_a_loaded_model_is_ready_to_draw(folder):
    found = load_model(folder)
    assert found.dtype == torch.float32
    assert found.device.type == "cpu" or torch.cuda.is_available()
    assert not any(module.training for module in found.modules())
    assert not any(
        parameter.requires_grad or parameter.is_meta for parameter in found.parameters()
    )
    assert found.source == str(folder)


def test_a_loaded_model_does_not_need_its_file_any_more(folder, model, assert_same):
    found = load_model(folder)
    for path in folder.glob("*/*.safetensors"):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert_same(found, model)


def test_weights_lie_in_memory_in_their_usual_order(
    tmp_path, state, config, words, model, assert_same
):
    turned = {name: v.t().contiguous().t() if v.ndim == 2 else v for name, v in state.items()}
    torch.save(turned, tmp_path / "x.ckpt")
    found = load_model(tmp_path / "x.ckpt", config=config, tokenizer=words)
    assert all(parameter.is_contiguous() for parameter in found.parameters())
    assert_same(found, model)


def test_nothing_is_drawn_at_random(folder):
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.diffusion_model.out.2.bias"), "missing 1: unet.out.2.bias"),
        (
            lambda s: s.update({"first_stage_model.new": torch.zeros(1)}),
            "extra 1: autoencoder.new",
        ),
        (
            lambda s: s.update({"model.diffusion_model.out.2.bias": torch.zeros(7)}),
            r"wrong shape 1: unet.out.2.bias \(expected \[4\], found \[7\]\)",
        ),
    ],
)
def test_every_mismatch_is_refused_by_name(tmp_path, state, config, words, change, message):
    changed = dict(state)
    change(changed)
    save_file(changed, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "x.safetensors", config=config, tokenizer=words)
    assert not check(tmp_path / "x.safetensors", config=config).ok


def test_a_sound_model_has_a_clean_report(folder, model):
    report = check(folder)
    assert report.ok
    assert report.n_tensors == len(model.state_dict())
    assert report.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.fixture
def mapped_file(tmp_path, state, monkeypatch):
    """A file in float32 whose model counts as a large one."""
    monkeypatch.setattr(load, "LARGE", 1)
    save_file(state, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("dtype, same", [(torch.float32, True), (torch.bfloat16, False)])
def test_a_mapped_weight_that_needs_no_conversion_is_a_view_of_the_file(
    mapped_file, config, model, mapped, dtype, same
):
    weights = read_safetensors(mapped_file)
    found = {
        key: Stored(weights, f"model.diffusion_model.{key}") for key in model.unet.state_dict()
    }
    with torch.device("meta"):
        unet = UNet(config.unet)
    load.fill(unet, found, torch.device("cpu"), dtype, mapped=mapped)
    for name, parameter in unet.named_parameters():
        assert torch.equal(parameter, model.unet.get_parameter(name).to(dtype))
        assert (parameter.data_ptr() == found[name].read().data_ptr()) is (mapped and same)


def test_a_mapped_file_may_be_deleted_and_changed_weights_do_not_reach_it(
    mapped_file, config, words, model, assert_same
):
    before = mapped_file.read_bytes()
    found = load_model(
        mapped_file, config=config, tokenizer=words, device="cpu", dtype="float32"
    )
    found.unet.out[2].weight.add_(1)
    found.unet.out[2].weight.data.mul_(2)
    assert mapped_file.read_bytes() == before
    again = load_model(
        mapped_file, config=config, tokenizer=words, device="cpu", dtype="float32"
    )
    mapped_file.unlink()
    assert_same(again, model)


@pytest.mark.parametrize("fast, wanted", [(None, False), (True, True), (False, False)])
def test_a_small_model_uses_accelerated_layers_only_if_requested(folder, fast, wanted):
    assert load_model(folder, fast=fast).fast is wanted


@pytest.mark.parametrize("fast, wanted", [(None, True), (True, True), (False, False)])
def test_a_large_model_uses_accelerated_layers_unless_told_otherwise(
    mapped_file, config, words, fast, wanted
):
    assert load_model(mapped_file, config=config, tokenizer=words, fast=fast).fast is wanted


def test_only_large_models_are_mapped(folder, monkeypatch):
    seen, fill = [], load.fill
    monkeypatch.setattr(
        load, "fill", lambda *a, mapped: seen.append(mapped) or fill(*a, mapped=mapped)
    )
    load_model(folder)
    monkeypatch.setattr(load, "LARGE", 1)
    load_model(folder)
    assert seen == [False] * 3 + [True] * 3


def test_the_unet_is_compiled_when_asked_and_only_then(folder, monkeypatch):
    compiled = []
    monkeypatch.setattr(load, "compile_unet", compiled.append)
    load_model(folder)
    assert compiled == []
    model = load_model(folder, compile=True)
    assert compiled == [model.unet]
