"""Our networks beside the reference library's, with the same random weights.

Both are made from one configuration, and the weights change names as `checkpoint` changes them:
a loaded or saved model goes the same way.
"""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.schedulers import scheduling_lms_discrete
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from labml_sd.autoencoder import Autoencoder
from labml_sd.checkpoint.layouts.diffusers import modern_name, name_map
from labml_sd.checkpoint.layouts.write_configs import (
    write_autoencoder,
    write_text_encoder,
    write_unet,
)
from labml_sd.config import ModelConfig
from labml_sd.text_encoder import CLIPTextTransformer
from labml_sd.unet import UNet


def our_network(part: str, config: ModelConfig) -> nn.Module:
    if part == "text_encoder":
        return CLIPTextTransformer(config.text_encoder)
    return UNet(config.unet) if part == "unet" else Autoencoder(config.autoencoder)


def their_network(part: str, config: ModelConfig) -> nn.Module:
    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig.from_dict(write_text_encoder(config)))
    with torch.device("meta"):
        if part == "unet":
            return UNet2DConditionModel.from_config(write_unet(config))
        return AutoencoderKL.from_config(write_autoencoder(config))


def give(theirs: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Load strictly. The memory is shared; a 1x1 convolution may be a matrix on their side."""
    shapes = theirs.state_dict()
    shaped = {key: weight.reshape(shapes[key].shape) for key, weight in weights.items()}
    theirs.load_state_dict(shaped, strict=True, assign=True)
    return theirs.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, gpu: torch.device) -> torch.device:
    """Where networks are compared: each test runs on the CPU, and with `-m gpu` on the GPU."""
    return gpu if request.param == "gpu" else torch.device("cpu")


@pytest.fixture(scope="module")
def randn(device: torch.device) -> Callable[..., Tensor]:
    """Draws float64 numbers that depend on the seed alone, not on the device they are on."""

    def draw(*shape: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, dtype=torch.float64, generator=generator).to(device)

    return draw


@pytest.fixture(scope="module")
def twins(
    randomise: Callable[[nn.Module], nn.Module], device: torch.device
) -> Callable[[str, ModelConfig], tuple[Any, Any]]:
    """One part of a model, ours and theirs, in float64."""

    def make(part: str, config: ModelConfig) -> tuple[Any, Any]:
        with torch.device("meta"):
            ours = our_network(part, config).double()
        randomise(ours.to_empty(device="cpu")).to(device)
        theirs = their_network(part, config)
        their_keys = {modern_name(part, key): key for key in theirs.state_dict()}
        names = name_map(part, ours.state_dict(), config)
        weights = {their_keys[names[key]]: w for key, w in ours.state_dict().items()}
        return ours, give(theirs, weights).to(device)  # what is left to move are buffers

    return make


@pytest.fixture(scope="module")
def twin_of(
    randomise: Callable[[nn.Module], nn.Module], device: torch.device
) -> Callable[..., tuple[Any, Any]]:
    """One block, ours and theirs, in float64. `names` maps our modules to theirs."""

    def make(
        ours: nn.Module, theirs: nn.Module, names: Mapping[str, str] | None = None
    ) -> tuple[Any, Any]:
        randomise(ours.double()).to(device)
        weights = {}
        for key, weight in ours.state_dict().items():
            module, _, kind = key.rpartition(".")
            weights[f"{(names or {}).get(module, module)}.{kind}"] = weight
        return ours, give(theirs, weights)

    return make


@pytest.fixture
def relative_error(
    record_property: Callable[[str, object], None],
) -> Callable[[Tensor, Tensor], float]:
    """The largest difference anywhere, as a part of the largest value; reports have it."""

    def error(ours: Tensor, theirs: Tensor) -> float:
        assert ours.shape == theirs.shape
        value = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        record_property("relative_error", value)
        return value

    return error


@pytest.fixture
def lms_scheduler(monkeypatch: pytest.MonkeyPatch) -> type:
    """diffusers' LMS takes SciPy for the integral of a cubic; four Gauss points are exact."""

    def quad(f: Any, low: Any, high: Any, epsrel: float) -> tuple[float]:
        nodes, weights = np.polynomial.legendre.leggauss(4)
        middle, half = (float(low) + float(high)) / 2, (float(high) - float(low)) / 2
        points = zip(nodes.tolist(), weights.tolist(), strict=True)
        return (half * sum(weight * float(f(middle + half * node)) for node, weight in points),)

    monkeypatch.setitem(sys.modules, "scipy", ModuleType("scipy"))
    monkeypatch.setattr(
        scheduling_lms_discrete, "integrate", SimpleNamespace(quad=quad), raising=False
    )
    return scheduling_lms_discrete.LMSDiscreteScheduler
