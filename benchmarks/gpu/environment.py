"""Stage 1: the machine, its software, and the two rates that nothing on it can pass."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import machine
import torch
from pairs import column, in_turn, spread, timed

from gpu.context import Context, name_of

PACKAGES = ("torch", "triton", "transformers", "diffusers", "numpy", "safetensors", "pytest")
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def measure(context: Context) -> None:
    """Versions first: they cost nothing."""
    device = context.device
    context.record("machine", line=machine.line(machine.describe(device)))
    context.record("versions", **{name: installed(name) for name in PACKAGES})
    context.record("tools", compiler=shutil.which("cc"), driver=driver())
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        context.record(
            "gpu",
            name=found.name,
            memory_gib=found.total_memory / 2**30,
            multiprocessors=found.multi_processor_count,
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            cudnn_tf32=torch.backends.cudnn.allow_tf32,
            matmul_tf32=torch.backends.cuda.matmul.allow_tf32,
        )
    for dtype in DTYPES:
        multiply, flops = machine.matmul(dtype, device, context.sizes.matrix)
        rate = flops / best(context, multiply) / 1e12
        context.record("matrix product", dtype=name_of(dtype), tflops=rate)
    context.record("copy", terabytes_per_second=copy_rate(context) / 1e12)


def installed(package: str) -> str | None:
    """The version of a package, None where there is none."""
    try:
        return version(package) if importlib.util.find_spec(package) else None
    except PackageNotFoundError:
        return None


def driver() -> str | None:
    """The GPU's name and driver as its own tool tells them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()


def best(context: Context, call: Callable[[], object]) -> float:
    """The median time of a call, in seconds."""
    run = {"call": timed(call, context.device)}
    readings = in_turn(run, repeats=context.sizes.rounds, budget=2, warm_ups=2, label="rate")
    return spread(column(readings["call"]))["median"]


def copy_rate(context: Context) -> float:
    """Bytes read and written in a second by a copy that no cache can hold."""
    n = context.sizes.matrix**2 * 8
    source = torch.randint(256, (n,), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    return 2 * n / best(context, lambda: target.copy_(source))
