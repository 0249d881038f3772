"""OpenVINO or ONNX Runtime in an interpreter of their own, started by `rival_engines.py`.

The first line of standard input is JSON: the engine, diffusers' class and its configuration,
the files of weights and inputs, the number of threads. Each further line is a request
(rival_requests.py). Needed here: torch, diffusers, openvino, onnxruntime, onnx and onnxscript.
"""

import gc
import json
import os
import sys
import warnings
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from rival_requests import serve
from torch import Tensor, nn

Compiled = Callable[..., Tensor]


class Call(nn.Module):
    """The part of a network that is converted, with tensors in and one tensor out."""

    def __init__(self, network: Any, what: str) -> None:
        super().__init__()
        self.network, self.what = network, what

    def forward(self, *given: Tensor) -> Tensor:
        """One call, without guidance and without the scale of latents."""
        if self.what == "step":
            x, t, cond = given
            return self.network(x, t, encoder_hidden_states=cond, return_dict=False)[0]
        if self.what == "decode":
            return self.network.decode(given[0], return_dict=False)[0]
        moments = self.network.quant_conv(self.network.encoder(given[0]))
        return moments.chunk(2, dim=1)[0]


def network(order: dict[str, Any]) -> Any:
    """diffusers' network with the weights of the cell, in float32."""
    with torch.device("meta"):
        made = getattr(diffusers, order["class"]).from_config(order["config"])
    weights = torch.load(order["weights"], mmap=True, weights_only=True)
    made.load_state_dict(weights, strict=True, assign=True)
    return made.eval().requires_grad_(False)


def in_openvino(call: Call, example: tuple[Tensor, ...], order: dict[str, Any]) -> Compiled:
    """Compiled for these shapes and for the shortest time of one call."""
    import openvino

    model = openvino.convert_model(
        call, example_input=example, input=[tuple(given.shape) for given in example]
    )
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": order["threads"],
        "INFERENCE_PRECISION_HINT": "bf16" if order["half"] else "f32",
    }
    compiled = openvino.compile_model(model, "CPU", settings)
    return lambda *given: torch.from_numpy(compiled([v.numpy() for v in given])[0])


def in_onnxruntime(call: Call, example: tuple[Tensor, ...], order: dict[str, Any]) -> Compiled:
    """A session with all optimizations."""
    import onnxruntime

    path = Path(order["folder"]) / "model.onnx"
    torch.onnx.export(call, example, path, dynamo=True, external_data=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = order["threads"]
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        values = dict(zip(names, (v.numpy() for v in given), strict=True))
        return torch.from_numpy(session.run(None, values)[0])

    return run


ENGINES = {"openvino": in_openvino, "onnxruntime": in_onnxruntime}


def caller(order: dict[str, Any]) -> Callable[[], Tensor]:
    """One call of the part, as diffusers' pipeline makes it."""
    inputs = torch.load(order["inputs"], weights_only=True)
    theirs = network(order)
    scale = theirs.config.get("scaling_factor", 1.0)
    call, compiled_by = Call(theirs, order["what"]), ENGINES[order["engine"]]
    if order["what"] != "step":
        given = inputs["z"] / scale if order["what"] == "decode" else inputs["image"]
        compiled = compiled_by(call, (given,), order)
        factor = 1.0 if order["what"] == "decode" else scale
        return lambda: factor * compiled(given)
    x, times = torch.cat([inputs["x"]] * 2), cycle(inputs["times"].long().tolist())
    cond = torch.cat([inputs["uncond"], inputs["cond"]])
    compiled = compiled_by(call, (x, torch.tensor([999]), cond), order)

    def step() -> Tensor:
        eps_uncond, eps_cond = compiled(x, torch.tensor([next(times)]), cond).chunk(2)
        return eps_uncond + float(inputs["scale"]) * (eps_cond - eps_uncond)

    return step


def drawn(order: dict[str, Any]) -> Callable[[int], Tensor]:
    """steps -> pixels in [-1, 1], by diffusers' pipeline with two networks exchanged."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        order["pipeline"], torch_dtype=torch.float32, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    noise = torch.load(order["inputs"], weights_only=True)["noise"]
    compiled_by, x = ENGINES[order["engine"]], torch.cat([noise] * 2)
    cond = torch.zeros(2, 77, pipe.text_encoder.config.hidden_size)
    step = compiled_by(Call(pipe.unet, "step"), (x, torch.tensor([999]), cond), order)
    decode = compiled_by(Call(pipe.vae, "decode"), (noise,), order)
    pipe.unet.forward = lambda x, t, encoder_hidden_states, **_: (
        step(x.float(), t.reshape(1), encoder_hidden_states.float()),
    )
    pipe.vae.decode = lambda z, **_: (decode(z.float()),)
    pipe.text_encoder.to(torch.bfloat16 if order["half"] else torch.float32)

    def draw(steps: int) -> Tensor:
        image = pipe(**order["call"], num_inference_steps=steps, latents=noise).images[0]
        return torch.from_numpy(np.asarray(image).astype(np.float64)) / 127.5 - 1

    return draw


@torch.no_grad()
def main() -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")  # of tracing: the shapes are those of the cell
    replies = os.fdopen(os.dup(1), "w")  # the engines print what they like on standard output
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    if order["what"] == "picture":
        draw, steps = drawn(order), order["steps"]
        serve(lambda: draw(steps), replies, lambda: draw(2))
    else:
        call = caller(order)
        gc.collect()
        serve(call, replies)


if __name__ == "__main__":
    main()
