r"""Matrix products by oneDNN, PyTorch's library for CPUs, with weights that are packed once.

A packed weight is stored in blocks that fit the processor. PyTorch's own product in float32 is
MKL's; on processors of AMD it takes twice as long.

Maps       x [rows d], weight [d2 d]  ->  x W^T [rows d2]
Tests      tests/acceleration/test_onednn.py
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# what torch.compile calls when it freezes weights; PyTorch gives them no public name
ops = torch.ops.mkldnn


def packs(x: Tensor) -> bool:
    """Whether oneDNN has a kernel for this number type on this processor."""
    is_there: Callable[[], bool] = torch.backends.mkldnn.is_available
    if x.device.type != "cpu" or not is_there():
        return False
    half = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    if x.dtype in half:
        return bool(getattr(ops, half[x.dtype])())
    return x.dtype == torch.float32


def packs_half(x: Tensor) -> bool:
    """The same, for bfloat16 and float16: there oneDNN also adds or multiplies as it stores."""
    return x.element_size() == 2 and packs(x)


def packed_matrix(weight: Float[Tensor, "d2 d"], rows: int) -> Tensor:
    """A copy, packed for products with about so many rows if oneDNN has a kernel."""
    if not packs(weight):
        return weight.clone()
    packed: Tensor = ops._reorder_linear_weight(weight.contiguous(), rows)
    return packed


def product_with(
    packed: Tensor,
    x: Float[Tensor, "*rows d"],
    bias: Float[Tensor, " d2"] | None = None,
    *,
    gelu: bool = False,
) -> Float[Tensor, "*rows d2"]:
    """`x W^T + b` with a weight of `packed_matrix`, and an exact GELU after it if asked for."""
    # in float32 oneDNN's GELU can take longer than PyTorch's
    inside = gelu and x.element_size() == 2 and packed.is_mkldnn
    if packed.is_mkldnn:
        name = "gelu" if inside else "none"
        y: Tensor = ops._linear_pointwise(x, packed, bias, name, [], "none")
    else:
        y = F.linear(x, packed, bias)
    return F.gelu(y) if gelu and not inside else y
