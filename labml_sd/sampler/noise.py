r"""Noise: one generator an image, so an image depends on its seed and on nothing else.

Maps       seeds, a latent's shape  ->  standard normal noise [b c h w], new at each draw
Tests      tests/sampler/test_noise.py
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError, quoted
from labml_sd.sampler.philox import cuda_noise
from labml_sd.sampler.variation import Variation, varied
from labml_sd.utilities.numbers import whole_number


def check_seed(seed: object, what: str = "seed") -> int:
    """Give a seed back; GenerationError unless it is a whole number in 0..2**64-1."""
    whole = whole_number(seed)
    if whole is None or not 0 <= whole < 2**64:
        raise GenerationError(
            f"{what} is {quoted(seed)}; give a whole number from 0 to {2**64 - 1}"
        )
    return whole


def cpu_noise(seed: int, shape: tuple[int, int, int]) -> Iterator[Float[Tensor, "c h w"]]:
    """Draws of PyTorch's CPU generator, in float32, without end.

    It reads the low 32 bits of a seed, so 0 and 2**32 draw the same.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    while True:
        yield torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


NOISES: dict[str, Callable[[int, tuple[int, int, int]], Iterator[Tensor]]] = {
    "cpu": cpu_noise,
    "cuda": cuda_noise,
}


def check_noise(noise: object) -> str:
    """Give the name of a kind of noise back, or raise GenerationError for an unknown one."""
    if not isinstance(noise, str) or noise not in NOISES:
        raise GenerationError(f"noise is {quoted(noise)}; choose one of {', '.join(NOISES)}")
    return noise


class NoiseSource:
    """Draw noise for a batch whose image i is seeded with seeds[i].

    Always computed on the CPU in float32, one image at a time, then moved and cast: batch size,
    other images and device do not change a number. `noise` selects the generator: "cpu" is
    PyTorch's for the CPU, "cuda" the one it uses on an NVIDIA GPU.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        noise: str = "cpu",
        variation: Variation | None = None,
    ) -> None:
        """`shape` is one image's latent (c, h, w); `variation` changes the first draw only.

        GenerationError when a seed is out of range or the kind of noise is unknown.
        """
        start = NOISES[check_noise(noise)]
        self.streams = [start(check_seed(seed), shape) for seed in seeds]
        if variation is not None:
            others = [check_seed(seed, "variation_seed") for seed in variation.seeds]
            pairs = zip(self.streams, others, strict=True)
            self.streams = [varied(a, start(b, shape), variation.strength) for a, b in pairs]
        self.device = torch.device(device)
        self.dtype = dtype

    def draw(self) -> Float[Tensor, "b c h w"]:
        """Fresh standard normal noise for the whole batch."""
        noise = torch.stack([next(stream) for stream in self.streams])  # [b c h w], float32
        if self.device.type == "cuda":
            # A copy from pinned memory is queued behind the GPU's work; any other makes the CPU
            # wait until that work is done.
            noise = noise.pin_memory()
        return noise.to(device=self.device, non_blocking=True).to(self.dtype)
