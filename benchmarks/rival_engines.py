"""OpenVINO and ONNX Runtime, what a user of a CPU would choose instead of PyTorch.

They run diffusers' networks, converted for one size of picture, on our random weights. OpenVINO
computes in the number type of the cell; ONNX Runtime has no bfloat16 on a CPU.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from cells import Setting
from rival_process import Child, started
from torch import Tensor

SCRIPT = Path(__file__).with_name("rival_engines_child.py")
ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


@contextmanager
def engines(
    setting: Setting,
    what: str,
    theirs: Any,
    inputs: dict[str, Tensor],
    dtype: torch.dtype,
) -> Iterator[dict[str, Child]]:
    """A running process of each engine of the setting by its name; none without its Python.

    `what` is "step", "decode" or "encode", `theirs` diffusers' network with our weights.
    """
    order = {
        "what": what,
        "class": type(theirs).__name__,
        "config": {k: v for k, v in theirs.config.items() if not k.startswith("_")},
    }
    weights = {}
    if setting.engines_python is not None:
        weights = {key: weight.float() for key, weight in theirs.state_dict().items()}
    with processes(setting, order, {"weights": weights, "inputs": inputs}, dtype) as running:
        yield running


@contextmanager
def drawing(
    setting: Setting,
    pipe: Any,
    call: dict[str, Any],
    steps: int,
    noise: Tensor,
    dtype: torch.dtype,
) -> Iterator[dict[str, Child]]:
    """The same for whole pictures: the engines run U-Net and decoder of diffusers' pipeline.

    `call` has the arguments of the pipeline. They draw `steps` steps; their answer, to be
    compared, has two. In float32 the memory does not suffice for a second copy of all weights,
    so there are no engines.
    """
    with TemporaryDirectory(dir=setting.files) as folder:
        wanted = setting.engines_python is not None and dtype != torch.float32
        if wanted:
            pipe.save_pretrained(folder)
        order = {"what": "picture", "pipeline": folder, "call": call, "steps": steps}
        here = setting if wanted else replace(setting, engines_python=None)
        with processes(here, order, {"inputs": {"noise": noise}}, dtype) as running:
            yield running


@contextmanager
def processes(
    setting: Setting,
    order: dict[str, Any],
    tensors: dict[str, dict[str, Tensor]],
    dtype: torch.dtype,
) -> Iterator[dict[str, Child]]:
    """One for each engine that has this number type."""
    python, running = setting.engines_python, {}
    with ExitStack() as stack:
        for engine in setting.engines if python is not None else ():
            if engine == "onnxruntime" and dtype != torch.float32:
                continue
            whole = {**order, "engine": engine, "half": dtype == torch.bfloat16}
            process = started([python, SCRIPT], whole, tensors, setting.files)
            running[ENGINES[engine]] = stack.enter_context(process)
        yield running
