r"""Spatial transformer: self-attention over the picture and cross-attention to the prompt.

Maps       x [b c h w], cond [rows n d_cond]  ->  [rows c h w]
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3 and appendix E.2.1
Reference  CompVis ldm/modules/attention.py, SpatialTransformer (attribute names kept)
Tests      tests/unet/test_spatial_transformer.py
"""

from functools import partial

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.unet.attention import CrossAttention, FeedForward
from labml_sd.unet.rows import repeat_rows


class BasicTransformerBlock(nn.Module):
    r"""Self-attention, cross-attention, feed-forward; each with a norm and a skip connection.

    $$ x \leftarrow x + \mathrm{attn}_1(\mathrm{norm}_1(x)), \quad
       x \leftarrow x + \mathrm{attn}_2(\mathrm{norm}_2(x), c), \quad
       x \leftarrow x + \mathrm{ff}(\mathrm{norm}_3(x)) $$
    """

    def __init__(self, d_model: int, d_cond: int, n_heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(d_model, d_model, n_heads)
        self.attn2 = CrossAttention(d_model, d_cond, n_heads)
        self.ff = FeedForward(d_model)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d_model) for _ in range(3))

    def forward(
        self, x: Float[Tensor, "b n d"], cond: Float[Tensor, "rows m d_cond"]
    ) -> Float[Tensor, "rows n d"]:
        """`attn2` is the only place where the prompt enters the U-Net."""
        # [b n d]: every position attends to every position
        x = x + self.attn1(self.norm1(x))
        # [rows n d]: the first block repeats x, once for each prompt; later ones have the rows
        x = repeat_rows(x, len(cond))
        # [rows n d]: every position attends to the tokens of its prompt
        x = x + self.attn2(self.norm2(x), cond)
        # [rows n d]: every position on its own
        return x + self.ff(self.norm3(x))


class ChannelLinear(nn.Linear):
    """A linear layer over the channels of a feature map.

    It computes what a 1x1 convolution does, with its weight stored as a matrix.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """The same projection at every position."""
        # [b h w c] while it is projected
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SpatialTransformer(nn.Module):
    r"""Run transformer blocks over the h * w positions of a feature map.

    $$ y = x + P_{out}\,T(P_{in}\,\mathrm{norm}(x),\, c) $$

    The norm uses eps 1e-6, unlike the 1e-5 of ResBlock. There is no position encoding: the
    convolutions before and after have already put the position into the features.
    """

    def __init__(
        self,
        channels: int,
        d_cond: int,
        *,
        n_heads: int,
        n_layers: int = 1,
        norm_groups: int = 32,
        linear: bool = False,
    ) -> None:
        """`linear`: P_in and P_out are linear layers, as in SD v2, not 1x1 convolutions."""
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        project = ChannelLinear if linear else partial(nn.Conv2d, kernel_size=1)
        self.proj_in = project(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(channels, d_cond, n_heads) for _ in range(n_layers)
        )
        self.proj_out = project(channels, channels)

    def forward(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "rows m d_cond"]
    ) -> Float[Tensor, "rows c h w"]:
        """Feature map to tokens, transformer blocks, tokens to feature map."""
        # [b hw c]: a token for each position, row by row
        tokens = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        for block in self.transformer_blocks:
            tokens = block(tokens, cond)  # [rows hw c]
        # [rows c h w]
        y = self.proj_out(rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2]))
        return repeat_rows(x, len(y)) + y
