r"""Devices and number formats by name, and the choice of both for "auto".

Maps       the names "auto", "cuda", "float16"  ->  torch.device, torch.dtype
           torch.device  ->  a description in words
Tests      tests/utilities/test_device.py
"""

import os
import platform
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from labml_sd.errors import GenerationError, quoted

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def pick_device(device: str | torch.device) -> torch.device:
    """The device of a name. Raises GenerationError if this machine does not have it."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = device if isinstance(device, torch.device) else torch.device(str(device))
    except (RuntimeError, ValueError) as error:
        raise GenerationError(
            f"device {quoted(device)} is unknown; expected auto, cpu, cuda, cuda:1 or mps"
        ) from error
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if chosen.type not in ("cpu", accelerator and accelerator.type):
        raise GenerationError(
            f"device {quoted(device)} was asked for, but torch finds none here; use cpu"
        )
    return chosen


def pick_dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """The dtype of a name, None for "auto". GenerationError if not in `DTYPES`."""
    if isinstance(dtype, str) and dtype == "auto":
        return None
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if not isinstance(chosen, torch.dtype) or chosen not in DTYPES.values():
        raise GenerationError(
            f"dtype {quoted(dtype)} is unknown; expected auto, {', '.join(DTYPES)}"
        )
    return chosen


def auto_dtype(device: torch.device, *, large: bool) -> torch.dtype:
    """The dtype for "auto": the fastest one that gives correct pictures.

    On CUDA bfloat16 where it is supported, else float16; on Apple's MPS float16. On a CPU
    bfloat16 for a large model where the hardware supports it (AMX, AVX512-bf16), else float32:
    a small model gains nothing, and in float32 its pictures are the same on every machine.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if large and fast_bfloat16(device) else torch.float32
    return torch.float16


def use_own_gpu(rank: int = 0) -> None:
    """Let "cuda" mean the GPU of this process of several: number LOCAL_RANK, or else `rank`.

    Several processes share a GPU if there are too few.
    """
    if torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        torch.cuda.set_device(local_rank % torch.cuda.device_count())


def memory_format(
    weight: Shaped[Tensor, "*shape"], device: torch.device
) -> torch.memory_format:
    """The order of a weight's numbers on a device: CUDA convolves maps with channels last."""
    convolves = device.type == "cuda" and weight.ndim == 4
    return torch.channels_last if convolves else torch.contiguous_format


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products have hardware support; without it float32 is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16; does nothing where that is not faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))


def describe_device(device: torch.device) -> str:
    """The device and the version of torch, in words."""
    name = device.type
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    if device.type == "cpu":
        name = f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__.split('+')[0]}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) if names else platform.processor() or platform.machine()
