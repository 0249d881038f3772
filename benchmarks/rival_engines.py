"""OpenVINO and ONNX Runtime, what a user of a CPU would choose instead of PyTorch.

They run diffusers' networks, converted for one size of picture, on our random weights. OpenVINO
computes in the number type of the cell; ONNX Runtime has no bfloat16 on a CPU.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
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
    running: dict[str, Child] = {}
    python = setting.engines_python
    if python is None:
        yield running
        return
    with ExitStack() as stack:
        for engine in setting.engines:
            if engine == "onnxruntime" and dtype != torch.float32:
                continue
            weights = {key: weight.float() for key, weight in theirs.state_dict().items()}
            order = {
                "engine": engine,
                "what": what,
                "half": dtype == torch.bfloat16,
                "class": type(theirs).__name__,
                "config": {k: v for k, v in theirs.config.items() if not k.startswith("_")},
            }
            tensors = {"weights": weights, "inputs": inputs}
            process = started([python, SCRIPT], order, tensors, setting.files)
            running[ENGINES[engine]] = stack.enter_context(process)
        yield running
