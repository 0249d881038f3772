"""Our networks at SD v1's size with random weights that keep all activations finite in half precision too."""

import copy
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
    """Holds one thing that several cells use, such as a network; it is dropped before another is made."""

    def __init__(self) -> None:
        self.key: object = None
        self.thing: Any = None

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        """What was made under this key last, or a new one."""
        if key != self.key:
            self.clear()
            self.key, self.thing = key, make()
        return self.thing

    def clear(self) -> None:
        """Forget it, memory and all."""
        self.key = self.thing = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class Drawn:
    """A random weight in the place of a stored one. It keeps the variance of what goes through."""

    def __init__(self, name: str, shape: torch.Size, generator: torch.Generator) -> None:
        self.name, self.shape, self.generator = name, shape, generator

    def read(self) -> Tensor:
        """The next numbers of the generator, on its device."""
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
        drawn: Any = {k: Drawn(k, v.shape, generator) for k, v in network.state_dict().items()}
        fill(network, drawn, device, dtype)
    model.fast = True  # as the loader does for a model of this size
    return model.eval().requires_grad_(False)


def roads(model: LatentDiffusion, *, plain: bool) -> dict[str, LatentDiffusion]:
    """The model by the road that it takes: "ours", and if asked for the same weights on the plain one."""
    if not plain:
        return {"ours": model}
    other = copy.copy(model)
    other.fast = False
    return {"ours": model, "ours, plain road": other}
