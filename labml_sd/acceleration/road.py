r"""Which road a model takes: the plain one that the notes explain, or the fast one to the same numbers.

`model.fast` says which. Fast networks are made from a model's weights at the first picture and
kept; before every picture it is checked that the weights are still those. A network that
somebody has built something into (a hook, another layer, an own `forward`, another kind of
attention) takes the plain road: the fast one would pass it by.

Maps       prompts -> c; model, c, guidance -> Evaluate; autoencoder, z <-> image
Tests      tests/acceleration/test_road.py
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.acceleration.autoencoder import LEAN_PIXELS, FastDecoder, FastEncoder
from labml_sd.acceleration.compiled import COMPILED, GraphedUNet, is_compiled
from labml_sd.acceleration.text_encoder import FastText
from labml_sd.acceleration.unet import FastUNet
from labml_sd.autoencoder import Autoencoder
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import Guidance, guided, guided_by
from labml_sd.sampler.protocol import Evaluate
from labml_sd.text_encoder import CLIPTextEmbedder
from labml_sd.unet import UNet
from labml_sd.utilities.shapes_only import shapes_only

T = TypeVar("T")
NETWORKS = (UNet, Autoencoder, CLIPTextEmbedder)
LOOKED_AT = 32  # numbers of each weight that are compared; `.data` can be changed without a trace elsewhere


@dataclass
class Kept:
    """What was made of a network, and what tells whether its weights are still those it was made of."""

    marks: list[Any]
    numbers: Tensor
    things: dict[Any, Any] = field(default_factory=dict)


_made: WeakKeyDictionary[nn.Module, Kept] = WeakKeyDictionary()


def encode_prompt(model: LatentDiffusion, prompts: list[str]) -> Float[Tensor, "b n d"]:
    """`LatentDiffusion.encode_prompt`."""
    embedder = model.text_encoder
    if not (model.fast and is_own(model, "encode_prompt") and is_plain(embedder)):
        return model.encode_prompt(prompts)
    return made(FastText, embedder)(embedder.ids(prompts))


def evaluate_with(
    model: LatentDiffusion,
    cond: Float[Tensor, "b n d"],
    uncond: Float[Tensor, "_ n d"] | None,
    guidance: Guidance,
) -> Evaluate:
    """The model with prompts and guidance built in: (x, level) -> eps."""
    unet = model.unet
    if (
        is_own(model)
        and is_compiled(unet)
        and model.device.type == "cuda"
        and is_plain(unet, but=COMPILED)
    ):
        return guided_by(made(GraphedUNet, unet).prompted, cond, uncond, guidance)
    if model.fast and is_own(model) and is_plain(unet):
        return guided_by(made(FastUNet, unet).prompted, cond, uncond, guidance)
    return guided(model, cond, uncond, guidance)


def decode(
    autoencoder: Autoencoder, z: Float[Tensor, "b z h w"], *, fast: bool
) -> Float[Tensor, "b 3 H W"]:
    """`Autoencoder.decode`, in its own number type."""
    weight = autoencoder.post_quant_conv.weight
    pixels = z.shape[-2] * z.shape[-1] * autoencoder.config.downsampling_factor**2
    z = z.to(weight.device, weight.dtype)
    if not (fast and pays(weight.device, pixels) and is_plain(autoencoder)):
        return autoencoder.decode(z)
    return made(FastDecoder, autoencoder)(autoencoder.unscaled(z))


def encode(
    autoencoder: Autoencoder, image: Float[Tensor, "b 3 H W"], *, fast: bool
) -> Float[Tensor, "b z h w"]:
    """`Autoencoder.encode` without a generator, in its own number type."""
    weight = autoencoder.quant_conv.weight
    pixels = image.shape[-2] * image.shape[-1]
    image = image.to(weight.device, weight.dtype)
    if not (fast and pays(weight.device, pixels) and is_plain(autoencoder)):
        return autoencoder.encode(image)
    return autoencoder.scaled(made(FastEncoder, autoencoder)(image).mode())


def pays(device: torch.device, pixels: int) -> bool:
    """Whether bands are worth their walk: on a GPU they save memory, not time, so only for large pictures."""
    return device.type == "cpu" or (device.type == "cuda" and pixels > LEAN_PIXELS)


def is_plain(network: nn.Module, *, but: tuple[str, ...] = ()) -> bool:
    """Whether only weights, and attributes named in `but`, tell it from a new one of its configuration.

    Any tokenizer will do.
    """
    kind = next((kind for kind in NETWORKS if isinstance(network, kind)), None)
    return kind is not None and anatomy(network, but) == as_new(kind, network.config)


def anatomy(
    network: nn.Module, but: tuple[str, ...] = ()
) -> list[tuple[str, type, dict[str, Any]]]:
    """Name, class and attributes of every module: hooks are among them, and a `forward` of its own."""
    left_out = {"training", "_parameters", "_modules", "tokenizer", *but}
    return [
        (name, type(module), {k: v for k, v in vars(module).items() if k not in left_out})
        for name, module in network.named_modules()
    ]


@cache
def as_new(kind: type[nn.Module], config: Any) -> list[tuple[str, type, dict[str, Any]]]:
    """The anatomy of a new network."""
    with shapes_only():
        return anatomy(kind(config, None) if kind is CLIPTextEmbedder else kind(config))


def is_own(model: LatentDiffusion, method: str = "forward") -> bool:
    """Whether a method of the model is what this package wrote, with nothing in between."""
    hooked = method in vars(model) or model._forward_hooks or model._forward_pre_hooks
    return getattr(type(model), method) is getattr(LatentDiffusion, method) and not hooked


def made(make: Callable[[Any], T], network: nn.Module) -> T:
    """`make(network)`, kept for as long as the network lives and its weights stay."""
    marks, numbers = fingerprint(network)
    kept = _made.get(network)
    if kept is None or kept.marks != marks or not torch.equal(kept.numbers, numbers):
        kept = _made[network] = Kept(marks, numbers)
    if make not in kept.things:
        kept.things[make] = make(network)
    return kept.things[make]


def fingerprint(network: nn.Module) -> tuple[list[Any], Float[Tensor, " n"]]:
    """What tells the weights from others, without reading all of them: marks to compare, and some numbers."""
    weights = [p.detach() for p in network.parameters()]
    marks = [
        (p.data_ptr(), 0 if p.is_inference() else p._version, p.shape, p.dtype, p.device)
        for p in weights
    ]
    some = [
        torch.as_strided(p, (min(LOOKED_AT, p.numel()),), (max(1, p.numel() // LOOKED_AT),))
        for p in weights
    ]
    return marks, torch.cat(some)
