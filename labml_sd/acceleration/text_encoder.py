r"""Packed form of the text transformer's layer.

A prompt is 77 rows, so few that packing the weights takes a third of the time of a plain call.
Queries, keys and values are one product.

Maps       x [b n d]  ->  [b n d]
Reference  labml_sd/text_encoder/clip_transformer.py; where results differ by more than
           rounding, that file is right
Tests      tests/acceleration/test_text_encoder.py
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labml_sd.acceleration.copies import Weights
from labml_sd.acceleration.layers import PackedLinear
from labml_sd.acceleration.packed import Packed, is_ordinary, new
from labml_sd.acceleration.transformer import heads, linear
from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder.clip_transformer import QUICK, EncoderLayer, quick_gelu

AT_ONCE = 4  # prompts on a CPU in half precision: oneDNN is slower per row for more rows


def quick_gelu_(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""`quick_gelu`, written over x: $x\,\sigma(a x) = \mathrm{silu}(a x) / a$."""
    return F.silu(x.mul_(QUICK), inplace=True).mul_(1 / QUICK)


class PackedEncoderLayer(Packed, EncoderLayer):
    """`EncoderLayer`."""

    def __init__(self, plain: EncoderLayer) -> None:
        super().__init__(plain)
        attention, mlp = plain.self_attn, plain.mlp
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        self.project = PackedLinear(
            Weights(q.weight, k.weight, v.weight, name="q k v"),
            torch.cat([q.bias, k.bias, v.bias]),
        )
        self.out, self.fc1, self.fc2 = map(linear, (attention.out_proj, mlp.fc1, mlp.fc2))
        self.activation = quick_gelu_ if mlp.activation is quick_gelu else mlp.activation

    @classmethod
    def fits(cls, plain: EncoderLayer) -> bool:
        """Any width, and any activation."""
        config = TextEncoderConfig(d_model=1, n_heads=1, d_mlp=1)
        return is_ordinary(plain, new(EncoderLayer, config))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Attention, then MLP; in half precision for some prompts at a time."""
        half = x.element_size() == 2 and x.is_cpu
        parts = torch.split(x, AT_ONCE if half else len(x))
        return torch.cat([self._some(some) for some in parts])

    def _some(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        n_heads = self.self_attn.n_heads
        qkv = self.project(self.layer_norm1(x))  # [b n 3d]
        q, k, v = (heads(part, n_heads) for part in qkv.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = self.out(attended.transpose(1, 2).flatten(2)).add_(x)
        # [b n d_mlp] in the middle
        return self.fc2(self.activation(self.fc1(self.layer_norm2(x)))).add_(x)
