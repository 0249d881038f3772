r"""Convolution and linear layer with their weights laid out once for the machine, not at every call.

On a CPU the library below PyTorch (oneDNN) keeps weights in blocks of its own. `F.conv2d` makes
the blocks anew at every call: for the widest layers of SD v1 that takes longer than the
convolution. Here they are made at the first call and kept. Elsewhere, and in number types that
oneDNN does not know, the plain functions run. A wide 3x3 convolution in float32 goes by tiles
(winograd.py), which needs weights of its own shape.

Maps       x [b c h w] -> [b c' h' w'];  x [b n d] -> [b n d']
Tests      tests/acceleration/test_layers.py
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.winograd import Winograd, pays

WIDE_ROWS = (
    512  # in float32, from here on the plain product is as fast, and holds its weights once
)
_ops = (
    torch.ops.mkldnn
)  # what torch.compile calls when it freezes weights; PyTorch gives them no public name
Layer = TypeVar("Layer", bound=nn.Module)


def of_kind(kind: type[Layer], layer: object) -> Layer:
    """`layer`, known to be of this kind: an nn.Sequential does not say what it holds. TypeError if not."""
    if not isinstance(layer, kind):
        raise TypeError(f"expected a {kind.__name__}, found a {type(layer).__name__}")
    return layer


def packs(x: Tensor) -> bool:
    """Whether oneDNN has a kernel for numbers of this type on this machine."""
    is_there: Callable[[], bool] = torch.backends.mkldnn.is_available
    if x.device.type != "cpu" or not is_there():
        return False
    narrow = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    if x.dtype in narrow:
        return bool(getattr(_ops, narrow[x.dtype])())
    return x.dtype == torch.float32


def packs_narrow(x: Tensor) -> bool:
    """The same, for the types of two bytes: there oneDNN gains by more than the layout of weights."""
    return x.element_size() == 2 and packs(x)


class Conv:
    """A convolution, plain or strided. x is in channels-last memory, and so is the result."""

    def __init__(
        self,
        weight: Float[Tensor, "c2 c kh kw"],
        bias: Float[Tensor, " c2"] | None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
    ) -> None:
        self.weight, self.bias, self.out_channels = weight, bias, len(weight)
        self.stride, self.padding = list(stride), list(padding)
        self.packed: Tensor | None = None
        self.in_tiles: Winograd | None = None

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "Conv":
        """That of a model."""
        padding = [
            side for side in layer.padding if isinstance(side, int)
        ]  # never a word in this package
        return cls(layer.weight, layer.bias, layer.stride, padding)

    def __call__(
        self,
        x: Float[Tensor, "b c h w"],
        bias: Float[Tensor, " c2"] | None = None,
        padding: list[int] | None = None,
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolve; `bias` and `padding` take the place of the layer's own."""
        bias = self.bias if bias is None else bias
        padding = self.padding if padding is None else padding
        if pays(self.weight, self.stride, x):
            if self.in_tiles is None:
                self.in_tiles = Winograd(self.weight)
            return self.in_tiles(x, bias, padding)
        if not packs(x):
            return F.conv2d(x, self.weight, bias, self.stride, padding)
        return _ops._convolution_pointwise(x, *self._laid_out(x, bias, padding), "none", [], "")

    def onto(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Add it to y, which is written over; in narrow types while the numbers are in the processor."""
        if not packs_narrow(x):
            return y.add_(self(x))
        given = self._laid_out(x, self.bias, self.padding)
        return _ops._convolution_pointwise_(y, x, *given, "add", 1, None, [], None)

    def times(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Multiply it with y, which may be written over; in narrow types as `onto` adds."""
        if not packs_narrow(x):
            return y.mul_(self(x))
        given = self._laid_out(x, self.bias, self.padding)
        return _ops._convolution_pointwise(x, y, *given, "mul", None, None, [], None)

    def _laid_out(self, x: Tensor, bias: Tensor | None, padding: list[int]) -> tuple[Any, ...]:
        """What oneDNN wants to know besides x; the last two are dilation and groups."""
        how = (padding, self.stride, [1, 1], 1)
        if self.packed is None:
            self.packed = _ops._reorder_convolution_weight(self.weight, *how, list(x.shape))
        return self.packed, bias, *how


class Dense:
    """A linear layer, `x W^T + b`, with an exact GELU behind it when asked for.

    In float32 oneDNN gains on PyTorch's own product only where rows are few, and its GELU can
    take longer than the pass over memory that it saves.
    """

    def __init__(
        self, weight: Float[Tensor, "d2 d"], bias: Float[Tensor, " d2"] | None = None
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.packed: Tensor | None = None

    def __call__(
        self, x: Float[Tensor, "b n d"], *, gelu: bool = False
    ) -> Float[Tensor, "b n d2"]:
        """Project every row. In narrow types the GELU is computed while the numbers are in the processor."""
        rows, narrow = x.shape[0] * x.shape[1], x.element_size() == 2
        packed = packs(x) and (narrow or rows < WIDE_ROWS)
        inside = gelu and narrow and packed
        if packed:
            if self.packed is None:
                self.packed = _ops._reorder_linear_weight(self.weight.contiguous(), rows)
            y = _ops._linear_pointwise(
                x, self.packed, self.bias, "gelu" if inside else "none", [], "none"
            )
        else:
            y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if gelu and not inside else y


class DenseWith:
    """A linear layer whose result is at once added to something, or multiplied with it.

    In narrow types it goes as a 1x1 convolution: there oneDNN does so while the numbers are in
    the processor.
    """

    def __init__(
        self, weight: Float[Tensor, "d2 d"], bias: Float[Tensor, " d2"] | None = None
    ) -> None:
        self.dense = Dense(weight, bias)
        self.conv = Conv(weight[:, :, None, None], bias)

    def onto(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]
    ) -> Float[Tensor, "b n d2"]:
        """`y + x W^T + b`, written over y."""
        if not packs_narrow(x):
            return y.add_(self.dense(x))
        self.conv.onto(as_map(x), as_map(y))
        return y

    def times(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]
    ) -> Float[Tensor, "b n d2"]:
        """`y (x W^T + b)`; y may be written over."""
        if not packs_narrow(x):
            return y.mul_(self.dense(x))
        return self.conv.times(as_map(x), as_map(y)).permute(0, 2, 3, 1)[:, 0]


def as_map(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d 1 n"]:
    """A map one cell high, in the same memory."""
    return tokens[:, None].permute(0, 3, 1, 2)
