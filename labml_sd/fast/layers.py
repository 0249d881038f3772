r"""Convolution and linear layer with their weights laid out once for the machine, not at every call.

On a CPU the library below PyTorch (oneDNN) keeps weights in blocks of its own. `F.conv2d` makes the blocks
anew at every call: for the widest layers of SD v1 that takes longer than the convolution. Here they are made
at the first call and kept. Elsewhere, and in number types that oneDNN does not know, the plain functions run.
A wide 3x3 convolution in float32 goes by tiles (winograd.py), which needs weights of its own shape.

Room       fast, called by transformer.py, unet.py, bands.py and autoencoder.py of this room
Maps       x [b c h w] -> [b c' h' w'];  x [b n d] -> [b n d']
See        tests/fast/test_layers.py
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.fast.winograd import Winograd, pays

WIDE_ROWS = 512  # in float32, from here on the plain product is as fast, and holds its weights once
ONE = ([0, 0], [1, 1], [1, 1], 1)  # of a 1x1 convolution: padding, stride, dilation, groups
_ops = torch.ops.mkldnn  # what torch.compile calls when it freezes weights; PyTorch gives them no public name
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
    narrow = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    if x.dtype in narrow:
        return bool(getattr(_ops, narrow[x.dtype])())
    return x.dtype == torch.float32


class Conv:
    """A convolution of the model, plain or strided. x is in channels-last memory, and so is the result."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.weight, self.bias = layer.weight, layer.bias
        self.out_channels = layer.out_channels
        self.stride = list(layer.stride)
        self.padding = [
            side for side in layer.padding if isinstance(side, int)
        ]  # never a word in this package
        self.packed: Tensor | None = None
        self.in_tiles: Winograd | None = None

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
        how = (padding, self.stride, [1, 1], 1)  # the last two: dilation, groups
        return _ops._convolution_pointwise(x, self._packed(x, how), bias, *how, "none", [], "")

    def onto(
        self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c2 h2 w2"]
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Add it to y, which is written over; in narrow types while the numbers are in the processor."""
        if not (packs(x) and x.element_size() == 2):
            return y.add_(self(x))
        how = (self.padding, self.stride, [1, 1], 1)
        return _ops._convolution_pointwise_(
            y, x, self._packed(x, how), self.bias, *how, "add", 1, None, [], None
        )

    def _packed(self, x: Tensor, how: tuple[list[int], list[int], list[int], int]) -> Tensor:
        if self.packed is None:
            self.packed = _ops._reorder_convolution_weight(self.weight, *how, list(x.shape))
        return self.packed


class Dense:
    """A linear layer, `x W^T + b`, with an exact GELU behind it when asked for.

    In float32 oneDNN gains on PyTorch's own product only where rows are few, and its GELU can take longer
    than the pass over memory that it saves.
    """

    def __init__(self, weight: Float[Tensor, "d2 d"], bias: Float[Tensor, " d2"] | None = None) -> None:
        self.weight = weight
        self.bias = bias
        self.packed: Tensor | None = None

    def __call__(self, x: Float[Tensor, "b n d"], *, gelu: bool = False) -> Float[Tensor, "b n d2"]:
        """Project every row. In narrow types the GELU is computed while the numbers are in the processor."""
        rows, narrow = x.shape[0] * x.shape[1], x.element_size() == 2
        packed = packs(x) and (narrow or rows < WIDE_ROWS)
        inside = gelu and narrow and packed
        if packed:
            if self.packed is None:
                self.packed = _ops._reorder_linear_weight(self.weight.contiguous(), rows)
            y = _ops._linear_pointwise(x, self.packed, self.bias, "gelu" if inside else "none", [], "none")
        else:
            y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if gelu and not inside else y


class DenseWith:
    """A linear layer whose result is at once added to something, or multiplied with it.

    In narrow types it goes as a 1x1 convolution: there oneDNN does so while the numbers are in the processor.
    """

    def __init__(self, weight: Float[Tensor, "d2 d"], bias: Float[Tensor, " d2"] | None = None) -> None:
        self.dense = Dense(weight, bias)
        self.packed: Tensor | None = None

    def onto(self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]) -> Float[Tensor, "b n d2"]:
        """`y + x W^T + b`, written over y."""
        if not self._as_convolution(x):
            return y.add_(self.dense(x))
        _ops._convolution_pointwise_(
            *as_maps(y, x), self.packed, self.dense.bias, *ONE, "add", 1, None, [], None
        )
        return y

    def times(self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d2"]) -> Float[Tensor, "b n d2"]:
        """`y (x W^T + b)`; y may be written over."""
        if not self._as_convolution(x):
            return y.mul_(self.dense(x))
        given = *as_maps(x, y), self.packed, self.dense.bias, *ONE
        return _ops._convolution_pointwise(*given, "mul", None, None, [], None).permute(0, 2, 3, 1)[:, 0]

    def _as_convolution(self, x: Tensor) -> bool:
        if not (packs(x) and x.element_size() == 2):
            return False
        if self.packed is None:
            weight = self.dense.weight[:, :, None, None].contiguous()
            self.packed = _ops._reorder_convolution_weight(weight, *ONE, list(as_maps(x)[0].shape))
        return True


def as_maps(*tokens: Float[Tensor, "b n _"]) -> list[Float[Tensor, "b _ 1 n"]]:
    """Tokens as a map one cell high, in the same memory."""
    return [some[:, None].permute(0, 3, 1, 2) for some in tokens]
