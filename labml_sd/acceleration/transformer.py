r"""Packed form of the spatial transformer.

In channels-last memory a map [b c h w] is its tokens [b hw c]: nothing is copied between the
two, and a 1x1 convolution is a linear layer over tokens. Queries, keys and values of
self-attention are one product. Keys and values of a prompt are computed once, and kept as long
as the tensor of the prompt lives. The wide middle of the feed-forward is computed for some rows
at a time.

Maps       x [b c h w], cond [rows n d_cond]  ->  [rows c h w]
Reference  labml_sd/unet/spatial_transformer.py and attention.py; where results differ by more
           than rounding, those files are right
Tests      tests/acceleration/test_transformer.py
"""

from collections.abc import MutableMapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from labml_sd.acceleration.attention import attention
from labml_sd.acceleration.copies import Weights
from labml_sd.acceleration.layers import PackedLinear, as_tokens, channels_last
from labml_sd.acceleration.packed import Packed, is_ordinary, is_written, new
from labml_sd.unet.attention import ATTENTION, CrossAttention, FeedForward, GeGLU
from labml_sd.unet.rows import repeat_rows
from labml_sd.unet.spatial_transformer import BasicTransformerBlock, SpatialTransformer

# of the feed-forward's middle: products of fewer rows do not keep a processor busy
COLUMN_BYTES = 4096
KeysAndValues = tuple[
    Float[Tensor, "rows heads m d_head"], Float[Tensor, "rows heads m d_head"]
]
OfPrompts = MutableMapping[Tensor, tuple[int, list[KeysAndValues]]]


def linear(layer: nn.Module) -> PackedLinear:
    """Packed form of a linear layer or a 1x1 convolution."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    weights = Weights(layer.weight.flatten(1), owner=layer.weight)
    return PackedLinear(weights, layer.bias)


def heads(x: Float[Tensor, "b n d"], n_heads: int) -> Float[Tensor, "b heads n d_head"]:
    """A view."""
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)


def is_flash() -> bool:
    """Whether "flash" in the table of attentions is the one that was written there."""
    return is_written(ATTENTION["flash"], CrossAttention.__module__, "flash_attention")


class PackedAttention:
    """`CrossAttention`, and the sum after it."""

    def __init__(self, plain: CrossAttention, *, to_itself: bool) -> None:
        self.n_heads = plain.n_heads
        self.to_k, self.to_v = plain.to_k, plain.to_v
        names = ("to_q", "to_k", "to_v") if to_itself else ("to_q",)
        weights = [getattr(plain, name).weight for name in names]
        self.project = PackedLinear(Weights(*weights, name=" ".join(names)))
        self.to_out = linear(plain.to_out[0])

    def keys_and_values(self, cond: Float[Tensor, "rows m d_cond"]) -> KeysAndValues:
        """Of the prompts, split into heads."""
        return heads(self.to_k(cond), self.n_heads), heads(self.to_v(cond), self.n_heads)

    def onto(
        self,
        x: Float[Tensor, "b n d"],
        y: Float[Tensor, "rows n d"],
        given: KeysAndValues | None = None,
    ) -> Float[Tensor, "rows n d"]:
        """`y + attention(x)`, written over y: to keys and values given, or self-attention."""
        if given is None:
            q, k, v = (heads(part, self.n_heads) for part in self.project(x).chunk(3, dim=-1))
        else:
            k, v = given
            q = repeat_rows(heads(self.project(x), self.n_heads), len(k))
        attended = attention(q, k, v).transpose(1, 2).flatten(2)  # [rows n d]
        return self.to_out.onto(attended, y)


class PackedFeedForward:
    """`FeedForward`, and the sum after it; some rows at a time on a CPU.

    Its middle, for all rows, would be the largest tensor of the U-Net: too large for the cache,
    and so large that on Linux its memory goes back to the system after every call, which fills
    it with zeros for the next.
    """

    def __init__(self, plain: FeedForward) -> None:
        geglu = plain.net[0]
        assert isinstance(geglu, GeGLU)
        weight = geglu.proj.weight
        self.value, self.gate = (
            PackedLinear(Weights(part, owner=weight, name=name), bias)
            for name, part, bias in zip(
                ("value", "gate"), weight.chunk(2), geglu.proj.bias.chunk(2), strict=True
            )
        )
        self.out = linear(plain.net[2])
        self.rows = COLUMN_BYTES // weight.element_size()

    def onto(
        self, x: Float[Tensor, "b n d"], y: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        """`y + ff(x)`, written over y."""
        rows = x.shape[0] * x.shape[1]
        n = self.rows if x.is_cpu else rows
        x_parts, y_parts = (torch.split(v.view(1, rows, -1), n, dim=1) for v in (x, y))
        for some, sums in zip(x_parts, y_parts, strict=True):
            middle = self.value.times(some, self.gate(some, gelu=True))  # [1 n 4d]
            self.out.onto(middle, sums)
        return y


class PackedTransformerBlock:
    """`BasicTransformerBlock`."""

    def __init__(self, plain: nn.Module) -> None:
        assert isinstance(plain, BasicTransformerBlock)
        self.norms = (plain.norm1, plain.norm2, plain.norm3)
        self.attn1 = PackedAttention(plain.attn1, to_itself=True)
        self.attn2 = PackedAttention(plain.attn2, to_itself=False)
        self.ff = PackedFeedForward(plain.ff)

    def __call__(
        self, x: Float[Tensor, "b n d"], given: KeysAndValues
    ) -> Float[Tensor, "rows n d"]:
        """The sums are written over x, or once x was repeated for each prompt, over that."""
        x = self.attn1.onto(self.norms[0](x), x)
        x = self.attn2.onto(self.norms[1](x), repeat_rows(x, len(given[0])), given)
        return self.ff.onto(self.norms[2](x), x)


class PackedSpatialTransformer(Packed, SpatialTransformer):
    """`SpatialTransformer`."""

    def __init__(self, plain: SpatialTransformer) -> None:
        super().__init__(plain)
        self.project_in, self.project_out = linear(plain.proj_in), linear(plain.proj_out)
        self.blocks = [PackedTransformerBlock(block) for block in plain.transformer_blocks]
        # cond -> (its version, keys and values for each block)
        self.of_prompts: OfPrompts = WeakTensorKeyDictionary()

    @classmethod
    def fits(cls, plain: SpatialTransformer) -> bool:
        """Any width and number of blocks."""
        shape = {
            "n_layers": len(plain.transformer_blocks),
            "linear": isinstance(plain.proj_in, nn.Linear),
        }
        template = new(SpatialTransformer, 1, 1, n_heads=1, norm_groups=1, **shape)
        return is_flash() and is_ordinary(plain, template)

    def keys_and_values(self, cond: Float[Tensor, "rows m d_cond"]) -> list[KeysAndValues]:
        """Of each block. Computed again if the same tensor comes with other contents."""
        version = 0 if cond.is_inference() else cond._version
        found = self.of_prompts.get(cond)
        if found is None or found[0] != version:
            found = (version, [block.attn2.keys_and_values(cond) for block in self.blocks])
            self.of_prompts[cond] = found
        return found[1]

    def forward(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "rows m d_cond"]
    ) -> Float[Tensor, "rows c h w"]:
        """Feature map to tokens, transformer blocks, tokens to feature map."""
        x = channels_last(x)
        tokens = self.project_in(as_tokens(self.norm(x)))  # [b hw c]
        for block, given in zip(self.blocks, self.keys_and_values(cond), strict=True):
            tokens = block(tokens, given)  # [rows hw c]
        y = self.project_out.plus(tokens, as_tokens(repeat_rows(x, len(tokens))))
        return y.view(len(y), *x.shape[2:], -1).permute(0, 3, 1, 2)
