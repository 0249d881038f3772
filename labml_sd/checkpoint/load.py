r"""Load a model strictly: an error names every weight without a tensor and vice versa.

Maps       a source -> LatentDiffusion
Tests      tests/checkpoint/test_load.py
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from labml_sd.acceleration.compiled import compile_unet
from labml_sd.checkpoint.files.weights import Stored
from labml_sd.checkpoint.hashes import WeightsFile
from labml_sd.checkpoint.networks import networks, shapes
from labml_sd.checkpoint.opened_checkpoint import OpenedCheckpoint
from labml_sd.checkpoint.prediction import check_prediction, described, from_yaml, probe
from labml_sd.checkpoint.report import LoadReport
from labml_sd.checkpoint.separate_parts import exchange_parts
from labml_sd.checkpoint.sources import open_source
from labml_sd.checkpoint.tokenizer_files import find_tokenizer
from labml_sd.config import ModelConfig, PredictionKind, sd_v2
from labml_sd.errors import CheckpointError, quoted
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.offload import Offloaded, waiting_place
from labml_sd.utilities.device import auto_dtype, memory_format, pick_device, pick_dtype
from labml_sd.utilities.shapes_only import shapes_only

LARGE = 100_000_000  # parameters; above, faster layers and a mapped file are worthwhile


def load_model(
    source: str | PathLike[str] = "tiny",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tokenizer: str | PathLike[str] | None = None,
    ema: bool = False,
    config: ModelConfig | None = None,
    prediction: PredictionKind | None = None,
    vae: str | PathLike[str] | None = None,
    unet: str | PathLike[str] | None = None,
    text_encoder: str | PathLike[str] | None = None,
    fast: bool | None = None,
    compile: bool = False,
    offload: bool = False,
    mmap: bool | None = None,
) -> LatentDiffusion:
    """Load a model, ready to generate: evaluation mode, no gradients.

    `source` is `"tiny"` or `"tiny-inpainting"` (bundled, no network), a .safetensors or .ckpt
    file, a diffusers folder, or a hub id. The kind of a file is decided by its tensors, not by
    its name; nothing in a pickle is executed. `device` "auto" is CUDA, else Apple's MPS, else
    the CPU. `dtype` "auto" is bfloat16 where the hardware supports it, else float16 on a GPU
    and float32 on a CPU; small models are float32 on every CPU. `tokenizer` is the folder of a
    CLIP tokenizer; without it a single file of SD, which contains none, gets CLIP's, which is
    bundled. `ema` takes a training checkpoint's averaged weights. `config` is needed for a
    single file that is not of SD's size and was not written by `save_model`. `prediction` is
    what the U-Net predicts, "eps" or "v"; without it a .yaml file of the same name as a single
    file says it, or the configuration, or for SD v2 a test of the U-Net. `vae`, `unet` and
    `text_encoder` take that network from another file or folder, which has it alone or in a
    whole model.

    With `fast` the pipelines use accelerated layers (None: for large models and compiled ones).
    `compile` has torch.compile compile the U-Net's blocks; on CUDA, with `fast`, the whole
    U-Net is replayed as one graph. That takes a minute at the first picture, and less time at
    each later one of that size.

    With `offload` the networks wait on the CPU, and the one that runs is brought to the device
    (`labml_sd.offload.Offloaded`): for GPUs with little memory. The pictures are the same. A
    compiled U-Net is not replayed as a graph then. On a CPU, and on MPS, which shares the CPU's
    memory, `offload` changes nothing.

    With `mmap` (None: for large models) weights that need no conversion stay in their file and
    are read when they are used. Meanwhile the file may be deleted or replaced, but not written
    to: if it is cut, or another file is copied over it, the system ends the process (SIGBUS),
    and no error can be caught. With `mmap=False` the weights are copied to memory.

    Raises CheckpointError when the file is no model, is damaged, or does not fit;
    GenerationError for a device or dtype that is not there.
    """
    _check_switches(ema=ema, compile=compile, offload=offload)
    _check_switches(None, fast=fast, mmap=mmap)
    _check_config(config)
    check_prediction(prediction)
    where, given = pick_device(device), pick_dtype(dtype)
    home = waiting_place(where) if offload else where
    with collecting_later():
        parts = {"autoencoder": vae, "unet": unet, "text_encoder": text_encoder}
        opened, paths = exchange_parts(open_source(source, ema=ema, config=config), parts)
        model = without_weights(opened, paths)
        report = opened.report(shapes(networks(model)))
        _check_fit(report, opened, paths)
        model.text_encoder.tokenizer = find_tokenizer(
            tokenizer, opened.tokenizer, opened.config.text_encoder
        )
        large = report.n_parameters >= LARGE
        number = given or auto_dtype(where, large=large)
        mapped = large if mmap is None else mmap
        for part, network in networks(model).items():
            fill(network, opened.found[part], home, number, mapped=mapped)
    model.config = with_prediction(model, opened, prediction)
    model.fast = large or compile if fast is None else fast
    if compile:
        compile_unet(model.unet)
    return model.eval() if home == where else Offloaded(model.eval(), where)


def without_weights(opened: OpenedCheckpoint, paths: Mapping[str, Path]) -> LatentDiffusion:
    """The model with shapes alone. `paths` are files that parts come from, by part."""
    with shapes_only():
        model = LatentDiffusion(opened.config, tokenizer=None, source=str(opened.path))
    model.weights_file = WeightsFile.of(paths.get("unet", opened.path))
    if "autoencoder" in paths:
        model.vae_file = WeightsFile.of(paths["autoencoder"])
    return model


def with_prediction(
    model: LatentDiffusion, opened: OpenedCheckpoint, given: PredictionKind | None
) -> ModelConfig:
    """The model's configuration with what its U-Net predicts: the first answer of these.

    The argument, a .yaml file beside the checkpoint, its configuration, a test of the U-Net.
    CheckpointError for one that the configuration rules out.
    """
    return stated_config(opened, given) or _as_v2(opened, probe(model.unet))


def stated_config(
    opened: OpenedCheckpoint, given: PredictionKind | None = None
) -> ModelConfig | None:
    """The configuration as `given`, a .yaml file or the checkpoint say; None: they do not.

    CheckpointError for a prediction that the configuration rules out.
    """
    said = given or from_yaml(opened.path)
    if not opened.prediction_is_known:
        return None if said is None else _as_v2(opened, said)
    try:
        return replace(opened.config, prediction=said or opened.config.prediction)
    except ValueError as error:
        raise CheckpointError(f"{opened.path}: {error}") from error


def _as_v2(opened: OpenedCheckpoint, kind: PredictionKind) -> ModelConfig:
    """SD v2 of a kind, with the scale of the autoencoder that was opened."""
    return replace(sd_v2(kind), autoencoder=opened.config.autoencoder)


@contextmanager
def collecting_later() -> Iterator[None]:
    """Let Python collect garbage after the block, not in it.

    A load makes ten thousands of objects that stay. A collection meanwhile would go through all
    objects of PyTorch and transformers too, which takes as long as the rest of the load.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _check_fit(report: LoadReport, opened: OpenedCheckpoint, paths: Mapping[str, Path]) -> None:
    """Raise CheckpointError for weights that are missing or too many, with all files' names."""
    if not report.ok:
        place = " with ".join(map(str, (opened.path, *paths.values())))
        raise CheckpointError(f"{place}: does not fit {opened.config.name}: {report.short()}")


def _check_switches(*others: object, **switches: object) -> None:
    for name, value in switches.items():
        if not (isinstance(value, bool) or any(value is other for other in others)):
            raise CheckpointError(f"{name} is {quoted(value)}; give True or False")


def _check_config(config: object) -> None:
    if not isinstance(config, ModelConfig | None):
        raise CheckpointError(f"config is {quoted(config)}; give a ModelConfig, or None")


def check(
    source: str | PathLike[str] = "tiny",
    *,
    ema: bool = False,
    config: ModelConfig | None = None,
) -> LoadReport:
    """What `load_model` would find, without reading the weights. CheckpointError as there."""
    opened = open_source(source, ema=ema, config=config)
    stated = stated_config(opened)
    kind = None if stated is None else stated.prediction
    predicts = described(stated or opened.config, kind)
    report = replace(opened.report(), predicts=predicts)
    try:
        find_tokenizer(None, opened.tokenizer, opened.config.text_encoder)
    except CheckpointError as error:
        return replace(report, tokenizer=str(error))
    return report


def fill(
    network: nn.Module,
    found: Mapping[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    *,
    mapped: bool = False,
) -> None:
    """Give a network that was built without memory its weights.

    One tensor at a time is read and converted, and becomes the parameter itself: the peak is
    one model and one tensor. With `mapped`, a tensor that needs no conversion stays in the
    file: the system reads it when it is used and may drop it again. Then the file may be
    deleted or replaced, but not modified. Otherwise the weights are copies.
    """
    for path, module in network.named_modules():
        for name, empty in module.named_parameters(recurse=False):
            tensor = found[f"{path}.{name}" if path else name].read().reshape(empty.shape)
            order = memory_format(tensor, device)
            weight = tensor.to(device, dtype, copy=not mapped, memory_format=order)
            module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
