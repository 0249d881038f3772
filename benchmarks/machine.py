"""What the figures were measured on: a line about the machine, and its matrix product."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

import labml_sd

SIDE = 4096


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, cores used, versions, hardware for half precision."""
    can = torch.cpu.get_capabilities()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": torch.get_num_threads(),
        "flags": [name for name in ("avx512_bf16", "amx_bf16", "amx_fp16") if can.get(name)],
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "labml_sd": labml_sd.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's model name, or its family and model number."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.machine()
    return (
        f"{name} (family {facts['cpu family']}, model {facts['model']})"
        if "model" in facts
        else name
    )


def line(machine: dict[str, Any]) -> str:
    """One line for a report."""
    flags = " ".join(machine["flags"]) or "no half precision in hardware"
    versions = " ".join(
        f"{name} {machine[name]}" for name in ("torch", "diffusers", "labml_sd", "python")
    )
    return f"{machine['device']}, {machine['cores']} cores, {flags}; {versions}"


def matmul(
    dtype: torch.dtype, device: torch.device, side: int = SIDE
) -> tuple[Callable[[], None], float]:
    """Square matrix products and their operations: a rate that no network exceeds."""
    times = 20 if device.type == "cuda" else 1
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return run, 2.0 * side**3 * times
