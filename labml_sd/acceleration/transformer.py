r"""The spatial transformer once more, over tokens that stay where they are.

In channels-last memory a map [b c h w] *is* its tokens [b hw c]: nothing is copied between the
two, and a 1x1 convolution is a product over tokens.

Maps       x [b c h w], keys and values of the prompts  ->  [k*b c h w]
Reference  labml_sd/unet/spatial_transformer.py and attention.py
Tests      tests/acceleration/test_transformer.py
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.acceleration.attention import attention
from labml_sd.acceleration.layers import Dense, DenseWith, of_kind
from labml_sd.unet.attention import CrossAttention, FeedForward, GeGLU
from labml_sd.unet.spatial_transformer import BasicTransformerBlock, SpatialTransformer

COLUMN_BYTES = (
    4096  # of the feed-forward's middle: products of fewer rows do not keep a processor busy
)
KeysAndValues = tuple[
    Float[Tensor, "rows heads m d_head"], Float[Tensor, "rows heads m d_head"]
]


def for_each(x: Float[Tensor, "b *rest"], rows: int) -> Float[Tensor, "rows *rest"]:
    """Repeat the whole batch until there is a row for each prompt; x itself where there is."""
    return x if x.shape[0] == rows else torch.cat([x] * (rows // x.shape[0]))


def heads(x: Float[Tensor, "b n d"], n_heads: int) -> Float[Tensor, "b heads n d_head"]:
    """A view; the kernel reads it where it is."""
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)


class FastAttention:
    """`CrossAttention`: to itself with one product for all three, or to keys and values already there."""

    def __init__(self, attention: CrossAttention, *, to_itself: bool) -> None:
        self.n_heads = attention.n_heads
        self.to_k, self.to_v = attention.to_k, attention.to_v
        q, k, v = (layer.weight for layer in (attention.to_q, attention.to_k, attention.to_v))
        self.project = Dense(torch.cat([q, k, v]) if to_itself else q)
        out = of_kind(nn.Linear, attention.to_out[0])
        self.to_out = DenseWith(out.weight, out.bias)

    def keys_and_values(self, cond: Float[Tensor, "rows m d_cond"]) -> KeysAndValues:
        """Of the prompts."""
        return heads(self.to_k(cond), self.n_heads), heads(self.to_v(cond), self.n_heads)

    def __call__(
        self,
        x: Float[Tensor, "b n d"],
        onto: Float[Tensor, "rows n d"],
        given: KeysAndValues | None = None,
    ) -> Float[Tensor, "rows n d"]:
        """Added to `onto`: a row for each of what is given; to itself where nothing is."""
        if given is None:
            q, k, v = (heads(part, self.n_heads) for part in self.project(x).chunk(3, dim=-1))
        else:
            k, v = given
            q = for_each(heads(self.project(x), self.n_heads), k.shape[0])
        return self.to_out.onto(attention(q, k, v).transpose(1, 2).flatten(2), onto)


class FastFeedForward:
    """`FeedForward`, some rows at a time on a CPU.

    All rows at once, its middle is the largest tensor of the U-Net: too large for the cache,
    and on Linux so large that its memory goes back to the system after every call and is zeroed
    anew for the next.
    """

    def __init__(self, layer: FeedForward) -> None:
        proj, out = of_kind(GeGLU, layer.net[0]).proj, of_kind(nn.Linear, layer.net[2])
        (value, gate), (value_bias, gate_bias) = proj.weight.chunk(2), proj.bias.chunk(2)
        self.value, self.gate = DenseWith(value, value_bias), Dense(gate, gate_bias)
        self.out = DenseWith(out.weight, out.bias)
        self.rows = COLUMN_BYTES // value.element_size()

    def __call__(
        self, x: Float[Tensor, "b n d"], onto: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        """Value times GELU of the gate, then narrow again, and added to `onto`."""
        x, y = (tokens.view(1, -1, tokens.shape[2]) for tokens in (x, onto))
        n = self.rows if x.device.type == "cpu" else x.shape[1]
        for some, sum_ in zip(torch.split(x, n, dim=1), torch.split(y, n, dim=1), strict=True):
            self.out.onto(self.value.times(some, self.gate(some, gelu=True)), sum_)
        return onto


class FastTransformerBlock:
    """`BasicTransformerBlock`. The first to meet the prompts makes a row for each of them."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        self.norms = (block.norm1, block.norm2, block.norm3)
        self.attn1 = FastAttention(block.attn1, to_itself=True)
        self.attn2 = FastAttention(block.attn2, to_itself=False)
        self.ff = FastFeedForward(block.ff)

    def __call__(
        self, x: Float[Tensor, "b n d"], given: KeysAndValues
    ) -> Float[Tensor, "rows n d"]:
        """Each sum is written over x, where x has a row for each prompt."""
        x = self.attn1(self.norms[0](x), x)
        x = self.attn2(self.norms[1](x), for_each(x, given[0].shape[0]), given)
        return self.ff(self.norms[2](x), x)


class FastTransformer:
    """`SpatialTransformer`."""

    def __init__(self, block: SpatialTransformer) -> None:
        self.norm = block.norm
        self.proj_in = Dense(block.proj_in.weight.flatten(1), block.proj_in.bias)
        self.proj_out = DenseWith(block.proj_out.weight.flatten(1), block.proj_out.bias)
        self.blocks = [
            FastTransformerBlock(of_kind(BasicTransformerBlock, inner))
            for inner in block.transformer_blocks
        ]

    def keys_and_values(self, cond: Float[Tensor, "rows m d_cond"]) -> list[KeysAndValues]:
        """Of each block."""
        return [block.attn2.keys_and_values(cond) for block in self.blocks]

    def __call__(
        self, x: Float[Tensor, "b c h w"], given: list[KeysAndValues]
    ) -> Float[Tensor, "rows c h w"]:
        """Tokens in, tokens out; x comes in channels-last memory, and the result may be written over it."""
        tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))
        for block, keys_and_values in zip(self.blocks, given, strict=True):
            tokens = block(tokens, keys_and_values)
        y = for_each(x, len(tokens))
        self.proj_out.onto(tokens, y.permute(0, 2, 3, 1).view(tokens.shape))
        return y
