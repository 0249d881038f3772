"""Our networks at SD v1's size, with random weights that keep activations finite in float16."""

import gc
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from labml_sd.checkpoint.load import fill
from labml_sd.checkpoint.networks import networks
from labml_sd.config import ModelConfig, UNetConfig, sd_v1
from labml_sd.latent_diffusion import LatentDiffusion

PARTS = ("text_encoder", "unet", "autoencoder")
SMALL_UNET = UNetConfig(
    channels=32, channel_multipliers=(1,), attention_levels=(0,), n_res_blocks=1
)


class Shelf:
    """Keeps one object that several cells use, such as a network; frees it before the next."""

    def __init__(self) -> None:
        self.key: object = None
        self.kept: Any = None

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        """The object made under this key, or a new one."""
        if key != self.key:
            self.clear()
            self.key, self.kept = key, make()
        return self.kept

    def clear(self) -> None:
        """Drop the object and free its memory."""
        self.key = self.kept = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class RandomWeight:
    """A random weight in place of a stored one; it preserves the variance of its input."""

    def __init__(self, name: str, shape: torch.Size, generator: torch.Generator) -> None:
        self.name, self.shape, self.generator = name, shape, generator

    def read(self) -> Tensor:
        """The weight, from the generator's next numbers, on its device."""
        weight = torch.empty(self.shape, device=self.generator.device)
        if weight.ndim > 1:
            return weight.normal_(std=self.shape[1:].numel() ** -0.5, generator=self.generator)
        return weight.normal_(
            float(self.name.endswith("weight")), 0.1, generator=self.generator
        )


def our_model(
    parts: Iterable[str],
    dtype: torch.dtype,
    device: torch.device,
    tokenizer: Any = None,
    config: ModelConfig | None = None,
) -> LatentDiffusion:
    """SD v1, or a model of `config`, as `load_model` leaves it; the named parts have weights.

    A U-Net that is not named is small.
    """
    config = config or sd_v1()
    if "unet" not in parts:
        config = replace(config, unet=SMALL_UNET)
    with torch.device("meta"):
        model = LatentDiffusion(config, tokenizer)
    generator = torch.Generator(device).manual_seed(0)
    for part in sorted({*parts, "unet"}):
        network: Any = networks(model)[part]
        weights: Any = {
            name: RandomWeight(name, weight.shape, generator)
            for name, weight in network.state_dict().items()
        }
        fill(network, weights, device, dtype)
    model.fast = True  # as the loader does for a model of this size
    return model.eval().requires_grad_(False)
