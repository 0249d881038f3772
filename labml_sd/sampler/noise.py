r"""Noise: one generator an image, so an image depends on its seed and on nothing else.

Room       sampler, called by the pipelines
Maps       seeds, a latent's shape  ->  standard normal noise [b c h w], a fresh one each draw
See        tests/sampler/test_noise.py
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError


def check_seed(seed: object) -> int:
    """Give a seed back, or raise GenerationError when it is no whole number in 0..2**63-1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise GenerationError(f"seed is {seed!r}; give a whole number from 0 to {2**63 - 1}")
    return seed


class NoiseSource:
    """Draw noise for a batch whose image i is seeded with seeds[i].

    Always drawn on the CPU in float32, one image at a time, then moved and cast: neither batch size nor
    neighbours nor device change a number. PyTorch's CPU generator reads the low 32 bits of a seed, so 0 and
    2**32 draw the same noise.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`shape` is one image's latent (c, h, w). GenerationError when a seed is out of range."""
        self.generators = [torch.Generator(device="cpu").manual_seed(check_seed(seed)) for seed in seeds]
        self.shape = shape
        self.device = torch.device(device)
        self.dtype = dtype

    def draw(self) -> Float[Tensor, "b c h w"]:
        """Fresh standard normal noise for the whole batch."""
        noise = torch.stack([self._draw_one(generator) for generator in self.generators])
        if self.device.type == "cuda":
            # Only a copy from pinned memory queues up behind the GPU's work; any other waits for it.
            noise = noise.pin_memory()
        return noise.to(device=self.device, non_blocking=True).to(self.dtype)

    def _draw_one(self, generator: torch.Generator) -> Float[Tensor, "c h w"]:
        return torch.randn(self.shape, generator=generator, dtype=torch.float32, device="cpu")
