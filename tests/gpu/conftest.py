"""Models on the GPU and on the CPU, and a watch for operations that make the host wait."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from PIL import Image

import labml_sd as sd
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import Step


@pytest.fixture(scope="module")
def on_gpu(gpu: torch.device) -> LatentDiffusion:
    return sd.load_model(device=gpu, dtype="float32")


@pytest.fixture(scope="module")
def on_cpu() -> LatentDiffusion:
    return sd.load_model(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def small_on_gpu(
    make_model: Callable[[], LatentDiffusion], gpu: torch.device
) -> LatentDiffusion:
    """32x32 pixels, random weights."""
    return make_model().to(gpu)


@pytest.fixture
def picture() -> Callable[[int], Image.Image]:
    """What edits start from: a square of so many pixels, the same bytes on every machine."""

    def make(side: int) -> Image.Image:
        ramp = Image.linear_gradient("L").resize((side, side))
        return Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))

    return make


@pytest.fixture
def left_half() -> Callable[[int], Image.Image]:
    """A mask for it."""

    def make(side: int) -> Image.Image:
        mask = Image.new("L", (side, side), 0)
        mask.paste(255, (0, 0, side // 2, side))
        return mask

    return make


@pytest.fixture
def without_tf32() -> Iterator[None]:
    """Convolutions of float32 in float32: by default cuDNN rounds their inputs to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def never_waits(
    gpu: torch.device,
) -> Callable[[], AbstractContextManager[Callable[[Step], None]]]:
    """A context with an `on_step`: between the first step and the last, waiting is an error."""

    def mode(name: str) -> None:
        if gpu.type == "cuda":
            torch.cuda.set_sync_debug_mode(name)

    @contextmanager
    def watching() -> Iterator[Callable[[Step], None]]:
        try:
            yield lambda step: mode("default" if step.index == step.n_steps - 1 else "error")
        finally:
            mode("default")

    return watching
