import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint import check, load_model
from labml_sd.checkpoint.load import pick_device, pick_dtype
from labml_sd.errors import CheckpointError, GenerationError


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", torch.float16])
def test_weights_are_converted_while_they_are_read(folder, model, dtype):
    found = load_model(folder, dtype=dtype)
    wanted = pick_dtype(dtype, torch.device("cpu"))
    for key, weight in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], weight.to(wanted))


def test_a_loaded_model_is_ready_to_draw(folder):
    found = load_model(folder)
    assert found.dtype == torch.float32
    assert found.device.type == "cpu" or torch.cuda.is_available()
    assert not any(module.training for module in found.modules())
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in found.parameters())
    assert found.source == str(folder)


def test_a_loaded_model_does_not_need_its_file_any_more(folder, model, assert_same):
    found = load_model(folder)
    for path in folder.glob("*/*.safetensors"):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert_same(found, model)


def test_weights_lie_in_memory_in_their_usual_order(tmp_path, state, config, words, model, assert_same):
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
        (lambda s: s.update({"first_stage_model.new": torch.zeros(1)}), "extra 1: autoencoder.new"),
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


@pytest.mark.parametrize("name", ["toaster", "cuda:x", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(GenerationError, match="device"):
        pick_device(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GenerationError, match="use cpu"):
        pick_device("cuda")


@pytest.mark.parametrize("dtype", ["float8", "int64", torch.int64])
def test_an_unknown_dtype_is_refused(dtype):
    with pytest.raises(GenerationError, match="dtype"):
        pick_dtype(dtype, torch.device("cpu"))


def test_the_dtype_follows_the_device(monkeypatch):
    for there, wanted in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda there=there: there)
        assert pick_dtype("auto", torch.device("cuda")) == wanted
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("mps")) == torch.float16
