r"""The three networks of a model by part, and the shapes of their weights.

Maps       ModelConfig -> {part: {name: shape}}
Tests      tests/checkpoint/test_networks.py
"""

from collections.abc import Mapping
from functools import cache

from torch import nn

from labml_sd.config import ModelConfig
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.utilities.shapes_only import shapes_only


def networks(model: LatentDiffusion) -> dict[str, nn.Module]:
    """The parts of a model that have weights, the text encoder's being in its transformer."""
    return {
        "text_encoder": model.text_encoder.transformer,
        "unet": model.unet,
        "autoencoder": model.autoencoder,
    }


Shapes = dict[str, dict[str, tuple[int, ...]]]
"""{part: {name: shape}}"""


def shapes(parts: Mapping[str, nn.Module]) -> Shapes:
    """Name and shape of every weight."""
    return {
        part: {k: tuple(v.shape) for k, v in net.named_parameters()}
        for part, net in parts.items()
    }


@cache
def wanted_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every weight of a model with this configuration."""
    with shapes_only():
        return shapes(networks(LatentDiffusion(config, tokenizer=None)))
