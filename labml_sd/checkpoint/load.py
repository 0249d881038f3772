r"""Load a model, strictly: every weight finds its tensor and every tensor its weight, or an error names them.

Room       checkpoint; `load_model` is one of the package's public names
Maps       a source -> LatentDiffusion
See        tests/checkpoint/test_load.py
"""

from collections.abc import Mapping
from os import PathLike

import torch
from torch import nn

from labml_sd.checkpoint.networks import networks
from labml_sd.checkpoint.report import LoadReport
from labml_sd.checkpoint.sources import open_source
from labml_sd.checkpoint.tokenizer_files import find_tokenizer
from labml_sd.checkpoint.weights import Stored
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.latent_diffusion import LatentDiffusion

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def load_model(
    source: str | PathLike[str] = "tiny",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tokenizer: str | PathLike[str] | None = None,
    ema: bool = False,
    config: ModelConfig | None = None,
) -> LatentDiffusion:
    """Load a model, ready to draw: evaluation mode, no gradients.

    `source` is `"tiny"` (bundled, no network), a .safetensors or .ckpt file, a diffusers folder, or a hub
    id. What a file is, is read from its tensors, not from its name; nothing in a pickle is executed.
    `device` "auto" is CUDA, else Apple's MPS, else the CPU. `dtype` "auto" is float32 on the CPU, bfloat16
    on CUDA where it is supported, else float16.
    `tokenizer` is a folder with vocab.json and merges.txt. A single file of SD v1 has none inside; without
    this the hub's copy of CLIP's is used. `ema` takes a training checkpoint's averaged weights. `config`
    gives the numbers of a single file that is not SD v1's size and was not written by `save_model`.

    Raises CheckpointError when the file is no model, is damaged, or does not fit; GenerationError for a
    device or dtype that is not there.
    """
    where = pick_device(device)
    number = pick_dtype(dtype, where)
    opened = open_source(source, ema=ema, config=config)
    report = opened.report()
    if not report.ok:
        raise CheckpointError(f"{opened.path}: does not fit {opened.config.name}: {report.short()}")
    words = find_tokenizer(tokenizer, opened.tokenizer, opened.config.text_encoder)
    with torch.device("meta"):
        model = LatentDiffusion(opened.config, words, source=str(opened.path))
    for part, network in networks(model).items():
        fill(network, opened.found[part], where, number)
    return model.eval().requires_grad_(False)


def check(
    source: str | PathLike[str] = "tiny", *, ema: bool = False, config: ModelConfig | None = None
) -> LoadReport:
    """Say what `load_model` would find, without reading the weights. Raises CheckpointError as it does."""
    return open_source(source, ema=ema, config=config).report()


def fill(network: nn.Module, found: Mapping[str, Stored], device: torch.device, dtype: torch.dtype) -> None:
    """Give a network that has shapes but no memory its weights.

    One tensor at a time is read and converted, and becomes the parameter itself: the most that is ever held
    is one model and one tensor. The copy is the network's own, so the file may be replaced or deleted
    afterwards.
    """
    weights = {}
    for key, meta in network.state_dict().items():
        tensor = found[key].read().reshape(meta.shape)
        weights[key] = tensor.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
    network.load_state_dict(weights, strict=True, assign=True)


def pick_device(device: str | torch.device) -> torch.device:
    """The device of a name. Raises GenerationError when this machine has none such."""
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise GenerationError(
            f"device {device!r} is unknown; expected auto, cpu, cuda, cuda:1 or mps"
        ) from error
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(chosen.type, True):
        raise GenerationError(
            f"device {device!r} was asked for, but torch finds none on this machine; use cpu"
        )
    return chosen


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of a name. Raises GenerationError for others than the four of `DTYPES`."""
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.float32 if device.type == "cpu" else torch.float16
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise GenerationError(f"dtype {dtype!r} is unknown; expected auto, {', '.join(DTYPES)}")
    return chosen
