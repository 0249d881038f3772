import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.utilities.device import (
    auto_dtype,
    autocast,
    describe_device,
    fast_bfloat16,
    memory_format,
    pick_device,
    pick_dtype,
)

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize("name", ["toaster", "cuda:x", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(GenerationError, match="device"):
        pick_device(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GenerationError, match="use cpu"):
        pick_device("cuda")


@pytest.mark.parametrize(
    "cuda, mps, name", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_device_that_is_there(monkeypatch, cuda, mps, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(name)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_a_dtype_is_taken_by_name_or_as_it_is(dtype):
    assert pick_dtype(dtype) == torch.bfloat16


def test_auto_is_resolved_later():
    assert pick_dtype("auto") is None


@pytest.mark.parametrize("dtype", ["float8", "int64", torch.int64])
def test_an_unknown_dtype_is_refused(dtype):
    with pytest.raises(GenerationError, match="dtype"):
        pick_dtype(dtype)


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("there, wanted", [(True, torch.bfloat16), (False, torch.float16)])
def test_on_cuda_the_dtype_is_bfloat16_where_it_is_supported(monkeypatch, there, wanted, large):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: there)
    assert auto_dtype(CUDA, large=large) == wanted


@pytest.mark.parametrize("able", ["amx_bf16", "avx512_bf16"])
def test_on_a_cpu_with_bfloat16_a_large_model_uses_it_and_a_small_one_does_not(
    monkeypatch, able
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {able: True})
    assert [auto_dtype(CPU, large=large) for large in (True, False)] == [
        torch.bfloat16,
        torch.float32,
    ]


def test_on_any_other_cpu_the_dtype_is_float32(monkeypatch):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False}
    )
    assert auto_dtype(CPU, large=True) == torch.float32


def test_on_mps_the_dtype_is_float16():
    assert auto_dtype(MPS, large=True) == auto_dtype(MPS, large=False) == torch.float16


def test_bfloat16_that_is_only_emulated_is_not_fast(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert not fast_bfloat16(CUDA)


def test_a_device_is_described_with_its_cores_and_torch():
    words = describe_device(CPU)
    assert "cores" in words and f"torch {torch.__version__.split('+')[0]}" in words


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch):
    a = torch.ones(4, 4)
    for flags, dtype in (({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        with autocast(CPU):
            assert (a @ a).dtype == dtype


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 1, 1), (2, 3, 3, 3)])
def test_weights_of_convolutions_have_their_channels_last_on_cuda_only(device, shape):
    last = device == CUDA and len(shape) == 4
    wanted = torch.channels_last if last else torch.contiguous_format
    assert memory_format(torch.empty(shape), device) == wanted
