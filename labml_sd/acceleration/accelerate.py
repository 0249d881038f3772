r"""accelerate(network): the same network with faster layers.

The wiring of a network stays the one that its notes explain. In a second module tree over the
same parameters, layers of the classes in `PACKED` are exchanged for their packed forms. A layer
that is not as its class builds it stays as it is: with another kind of attention, a `forward`
of its own, a layer inside it replaced, a method of its class replaced.

Maps       a network  ->  a network of the same class, over the same parameters
Tests      tests/acceleration/test_accelerate.py
"""

import copy
from typing import Any, TypeVar

from torch import nn

from labml_sd.acceleration.autoencoder import TiledDecoder, TiledEncoder
from labml_sd.acceleration.compiled import COMPILED, GraphedUNet
from labml_sd.acceleration.copies import forget_moved
from labml_sd.acceleration.packed import Packed
from labml_sd.acceleration.text_encoder import PackedEncoderLayer
from labml_sd.acceleration.transformer import PackedSpatialTransformer
from labml_sd.acceleration.unet_blocks import (
    PackedConv2d,
    PackedDownSample,
    PackedResBlock,
    PackedUpSample,
)
from labml_sd.autoencoder.decoder import Decoder
from labml_sd.autoencoder.encoder import Encoder
from labml_sd.text_encoder.clip_transformer import EncoderLayer
from labml_sd.unet import UNet
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample
from labml_sd.unet.spatial_transformer import SpatialTransformer

N = TypeVar("N", bound=nn.Module)
PACKED: dict[type[nn.Module], type[Packed]] = {
    ResBlock: PackedResBlock,
    SpatialTransformer: PackedSpatialTransformer,
    UpSample: PackedUpSample,
    DownSample: PackedDownSample,
    nn.Conv2d: PackedConv2d,
    EncoderLayer: PackedEncoderLayer,
    Encoder: TiledEncoder,
    Decoder: TiledDecoder,
}


def accelerate(network: N) -> N:
    """A second module tree over the same parameters, with packed layers where these fit.

    It takes 10 to 30 ms and is meant for one run: packed copies of weights are kept beside the
    weights, and compared with them when a new tree first uses them. So call it again after the
    network was changed in any way. Hooks, on the network or any layer of it, may come and go at
    any time. Several threads may accelerate and run one network.

    Modules of classes from outside this package and PyTorch stay as they are, with all inside
    them.
    """
    forget_moved(network.parameters())
    return exchanged(network, {})


def fits(kind: type[Packed], layer: nn.Module) -> bool:
    """Whether the packed form computes what the layer does."""
    try:
        return kind.fits(layer)
    except (AttributeError, IndexError):  # it lacks a part that its class has
        return False


def exchanged(module: Any, done: dict[int, nn.Module]) -> Any:
    """The packed form of a layer; of other modules a copy with exchanged children."""
    if id(module) not in done:
        done[id(module)] = _exchanged(module, done)
    return done[id(module)]


def _exchanged(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    kind = type(module)
    if isinstance(module, UNet) and fits(GraphedUNet, module):
        return GraphedUNet(module)
    if kind in PACKED:
        return PACKED[kind](module) if fits(PACKED[kind], module) else module
    if kind.__module__.split(".")[0] not in ("labml_sd", "torch"):
        return module
    if isinstance(module, Packed) or COMPILED in vars(module):
        return module
    children = {
        name: child if child is None else exchanged(child, done)
        for name, child in module._modules.items()
    }
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    new = copy.copy(module)  # shares parameters, attributes and hooks
    new._modules = children
    return new
