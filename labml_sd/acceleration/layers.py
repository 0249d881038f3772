r"""Convolution and linear layer with weights that are packed for the processor once.

On a CPU, PyTorch's library oneDNN stores weights in blocks of its own. `F.conv2d` reorders them
into blocks at every call: for the widest layers of SD v1 that takes longer than the
convolution. Here they are reordered at the first call and kept. On other devices, and for
number types that oneDNN does not support, the plain functions run. A wide 3x3 convolution in
float32 runs by Winograd's algorithm (winograd.py), with weights of another form.

Maps       x [b c h w] -> [b c2 h2 w2];  x [b n d] -> [b n d2]
Tests      tests/acceleration/test_layers.py
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.copies import Weights
from labml_sd.acceleration.onednn import ops, packed_matrix, packs, packs_half, product_with
from labml_sd.acceleration.winograd import Winograd, pays, tile_of


def channels_last(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """On a CPU, the map with the channels of a position side by side, as oneDNN needs it.

    x itself if it is in that order, and on other devices, where any order will do.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.is_cpu else x


class PackedConv:
    """A convolution, plain or strided. x is in channels-last memory, and so is the result."""

    def __init__(
        self,
        weights: Weights,
        bias: Float[Tensor, " c2"] | None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
    ) -> None:
        self.weights, self.bias = weights, bias
        self.stride, self.padding = list(stride), list(padding)
        self.packed: Tensor | None = None
        self.winograd: Winograd | None = None

    @classmethod
    def of(cls, layer: nn.Module) -> "PackedConv":
        """With the weights, the stride and the padding of a layer."""
        assert isinstance(layer, nn.Conv2d)
        padding = [side for side in layer.padding if isinstance(side, int)]
        return cls(Weights(layer.weight), layer.bias, layer.stride, padding)

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return sum(len(part) for part in self.weights.parts)

    def __call__(
        self,
        x: Float[Tensor, "b c h w"],
        bias: Float[Tensor, " c2"] | None = None,
        padding: list[int] | None = None,
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolve; `bias` and `padding` take the place of the layer's own."""
        bias = self.bias if bias is None else bias
        padding = self.padding if padding is None else padding
        weight = self.weights.parts[0]
        if pays(weight, self.stride, x):
            if self.winograd is None:
                self.winograd = self.weights.copy(f"tiles of {tile_of(weight)}", Winograd)
            return self.winograd(x, bias, padding)
        if not packs(x):
            return F.conv2d(x, self._as_conv(weight), bias, self.stride, padding)
        return ops._convolution_pointwise(x, *self._packed(x, bias, padding), "none", [], "")

    def plus(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """`y + conv(x)`, in a new tensor."""
        return self.onto(x, y.clone()) if packs_half(x) else y + self(x)

    def onto(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """The same, written over y: oneDNN adds while the numbers are still in registers."""
        if not packs_half(x):
            return y.add_(self(x))
        given = self._packed(x, self.bias, self.padding)
        return ops._convolution_pointwise_(y, x, *given, "add", 1, None, [], None)

    def times(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """`y * conv(x)`, in a new tensor."""
        if not packs_half(x):
            return self(x).mul_(y)
        given = self._packed(x, self.bias, self.padding)
        return ops._convolution_pointwise(x, y, *given, "mul", None, None, [], None)

    def _packed(self, x: Tensor, bias: Tensor | None, padding: list[int]) -> tuple[Any, ...]:
        """What oneDNN needs besides x; the last two are dilation and groups."""
        how = (padding, self.stride, [1, 1], 1)
        if self.packed is None:
            self.packed = self.weights.copy(
                ("convolution", *self.stride),
                lambda weight: ops._reorder_convolution_weight(
                    self._as_conv(weight), *how, list(x.shape)
                ),
            )
        return self.packed, bias, *how

    @staticmethod
    def _as_conv(weight: Tensor) -> Float[Tensor, "c2 c kh kw"]:
        """The weight of a linear layer is that of a 1x1 convolution."""
        return weight if weight.dim() == 4 else weight[:, :, None, None]


class PackedLinear:
    """A linear layer, `x W^T + b`.

    In half precision, sums and products with another tensor run as a 1x1 convolution.
    """

    def __init__(self, weights: Weights, bias: Float[Tensor, " d2"] | None = None) -> None:
        self.weights, self.bias = weights, bias
        self.packed: Tensor | None = None
        self.conv = PackedConv(weights, bias)

    def __call__(
        self, x: Float[Tensor, "b n d"], *, gelu: bool = False
    ) -> Float[Tensor, "b n d2"]:
        """Project every row; with an exact GELU after it if asked for."""
        if self.packed is None and packs(x):
            rows = x.shape[0] * x.shape[1]
            self.packed = self.weights.copy(
                "linear", lambda weight: packed_matrix(weight, rows)
            )
        weight = self.weights.joined if self.packed is None else self.packed
        return product_with(weight, x, self.bias, gelu=gelu)

    def plus(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]
    ) -> Float[Tensor, "b n d2"]:
        """`y + x W^T + b`, in a new tensor."""
        return self.onto(x, y.clone()) if packs_half(x) else y + self(x)

    def onto(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]
    ) -> Float[Tensor, "b n d2"]:
        """The same, written over y."""
        if not packs_half(x):
            return y.add_(self(x))
        self.conv.onto(as_row(x), as_row(y))
        return y

    def times(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]
    ) -> Float[Tensor, "b n d2"]:
        """`y * (x W^T + b)`, in a new tensor."""
        if not packs_half(x):
            return self(x).mul_(y)
        return as_tokens(self.conv.times(as_row(x), as_row(y)))


def as_tokens(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b hw c"]:
    """The positions of a map, row by row; in channels-last memory it is a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_row(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d 1 n"]:
    """A map one row high, in the same memory."""
    return tokens[:, None].permute(0, 3, 1, 2)
