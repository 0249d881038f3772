r"""Load a model, strictly: every weight finds its tensor and every tensor its weight, or an error names them.

Maps       a source -> LatentDiffusion
Tests      tests/checkpoint/test_load.py
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike

import torch
from torch import nn

from labml_sd.acceleration.compiled import compile_unet
from labml_sd.checkpoint.files.weights import Stored
from labml_sd.checkpoint.hashes import WeightsFile
from labml_sd.checkpoint.networks import networks, shapes
from labml_sd.checkpoint.report import LoadReport
from labml_sd.checkpoint.sources import open_source
from labml_sd.checkpoint.tokenizer_files import find_tokenizer
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError, quoted
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.utilities.device import auto_dtype, pick_device, pick_dtype
from labml_sd.utilities.shapes_only import shapes_only

LARGE = 100_000_000  # parameters; from here on speed and memory are worth a second road and a mapped file


def load_model(
    source: str | PathLike[str] = "tiny",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tokenizer: str | PathLike[str] | None = None,
    ema: bool = False,
    config: ModelConfig | None = None,
    fast: bool | None = None,
    compile: bool = False,
) -> LatentDiffusion:
    """Load a model, ready to draw: evaluation mode, no gradients.

    `source` is `"tiny"` (bundled, no network), a .safetensors or .ckpt file, a diffusers
    folder, or a hub id. What a file is, is read from its tensors, not from its name; nothing in
    a pickle is executed. `device` "auto" is CUDA, else Apple's MPS, else the CPU. `dtype`
    "auto" is bfloat16 where the machine computes with it, else float16 on a GPU and float32 on
    a CPU; small models are float32 on every CPU. `tokenizer` is a folder with vocab.json and
    merges.txt. A single file of SD v1 has none inside; without this the hub's copy of CLIP's is
    used. `ema` takes a training checkpoint's averaged weights. `config` gives the numbers of a
    single file that is not SD v1's size and was not written by `save_model`. `fast` lets the
    pipelines take the room `fast` (None: for large models). `compile` has torch.compile
    translate the U-Net's blocks, on CUDA also into one graph of all its work: a minute at the
    first picture, for less time at each later one of that size.

    Raises CheckpointError when the file is no model, is damaged, or does not fit;
    GenerationError for a device or dtype that is not there.
    """
    _check_switches(ema=ema, fast=False if fast is None else fast, compile=compile)
    if not isinstance(config, ModelConfig | None):
        raise CheckpointError(
            f"config is {quoted(config)}; give a ModelConfig, or None for the file's own"
        )
    where, given = pick_device(device), pick_dtype(dtype)
    with collecting_later():
        opened = open_source(source, ema=ema, config=config)
        with shapes_only():
            model = LatentDiffusion(opened.config, tokenizer=None, source=str(opened.path))
        model.weights_file = WeightsFile.of(opened.path)
        report = opened.report(shapes(networks(model)))
        if not report.ok:
            raise CheckpointError(
                f"{opened.path}: does not fit {opened.config.name}: {report.short()}"
            )
        model.text_encoder.tokenizer = find_tokenizer(
            tokenizer, opened.tokenizer, opened.config.text_encoder
        )
        large = report.n_parameters >= LARGE
        number = given or auto_dtype(where, large=large)
        for part, network in networks(model).items():
            fill(network, opened.found[part], where, number, mapped=large)
    model.fast = large if fast is None else fast
    if compile:
        compile_unet(model.unet)
    return model.eval().requires_grad_(False)


@contextmanager
def collecting_later() -> Iterator[None]:
    """Let Python look for garbage after the block, not in it.

    A load makes ten thousands of objects that stay. They would have it walk through all that
    PyTorch and transformers hold as well, which takes as long as the rest of the load.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _check_switches(**switches: object) -> None:
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise CheckpointError(f"{name} is {quoted(value)}; give True or False")


def check(
    source: str | PathLike[str] = "tiny",
    *,
    ema: bool = False,
    config: ModelConfig | None = None,
) -> LoadReport:
    """Say what `load_model` would find, without reading the weights. Raises CheckpointError as it does."""
    return open_source(source, ema=ema, config=config).report()


def fill(
    network: nn.Module,
    found: Mapping[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    *,
    mapped: bool = False,
) -> None:
    """Give a network that has shapes but no memory its weights.

    One tensor at a time is read and converted, and becomes the parameter itself: the most that
    is ever held is one model and one tensor. With `mapped`, a tensor that needs no conversion
    stays where it is, in the file: the system reads it when it is used and may drop it again.
    Then the file may be deleted or replaced, but not written into. Otherwise the copy is the
    network's own.
    """
    weights = {}
    for key, meta in network.state_dict().items():
        tensor = found[key].read().reshape(meta.shape)
        # a GPU's convolutions want their channels last, as its maps have them
        order = (
            torch.channels_last
            if device.type == "cuda" and tensor.ndim == 4
            else torch.contiguous_format
        )
        weights[key] = tensor.to(device, dtype, copy=not mapped, memory_format=order)
    network.load_state_dict(weights, strict=True, assign=True)
