r"""The blocks of the autoencoder: ResNet block, self-attention, down- and up-sampling.

Maps       x [b c h w]  ->  [b c' h w], [b c h/2 w/2] or [b c 2h 2w]
Paper      Esser et al. 2021 (VQGAN), arXiv:2012.09841, appendix A
Reference  CompVis ldm/modules/diffusionmodules/model.py (attribute names of the checkpoint)
Tests      tests/autoencoder/test_blocks.py
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """Group norm with eps 1e-6.

    The U-Net's ResBlocks use 1e-5. Both have the same checkpoint keys, and the difference only
    shows where activations are small.
    """
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    r"""Two convolutions and a skip (residual) connection.

    $$ y = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{norm}_2(
        \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x)))))) $$

    Norm and activation come before each convolution ("pre-activation", He et al. 2016,
    arXiv:1603.05027). Unlike the U-Net's ResBlock it has no time embedding.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm1 = norm(in_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels, norm_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        # A sum needs equal widths, so a 1x1 convolution adapts the skip connection if needed.
        self.nin_shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """Keep the size, change the width from c to c2 channels."""
        # [b c2 h w]: the first convolution changes the width
        h = self.conv1(F.silu(self.norm1(x)))
        # [b c2 h w]: the second one keeps it
        h = self.conv2(F.silu(self.norm2(h)))
        # [b c2 h w]: the skip connection, widened if c and c2 differ, plus the residual
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    r"""Self-attention over the positions of a feature map, with one head.

    $$ y = x + W_o\, V\, \mathrm{softmax}\!\left(\frac{Q^\top K}{\sqrt{c}}\right)^{\!\top} $$

    The tokens are the h*w positions, and a token's features are the channels. The softmax runs
    over the keys, so the output at each position is a weighted mean of the values at all
    positions. A 1x1 convolution is a linear layer applied at each position.
    """

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm = norm(channels, norm_groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix information between all positions; keep size and width."""
        normed = self.norm(x)
        # three times [b 1 h*w c]: one head, one token for each position
        q, k, v = (
            rearrange(layer(normed), "b c h w -> b 1 (h w) c").contiguous()
            for layer in (self.q, self.k, self.v)
        )
        # [b 1 h*w c]: softmax(q k^T / sqrt(c)) v
        mixed = F.scaled_dot_product_attention(q, k, v)
        # [b c h w]: tokens back to a map, last projection, skip connection
        return x + self.proj_out(rearrange(mixed, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class DownSample(nn.Module):
    """Halve both sides with a strided convolution.

    It pads one row at the bottom and one column at the right, and nothing at the top and left.
    The U-Net's down-sampling pads all four sides. With the wrong padding all shapes still fit,
    but the picture is shifted.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Half the size, rounded down."""
        # [b c h+1 w+1]: padding left, right, top, bottom = 0, 1, 0, 1
        padded = F.pad(x, (0, 1, 0, 1))
        # [b c h/2 w/2]: every second position
        return self.conv(padded)


class UpSample(nn.Module):
    """Double both sides: repeat every position, then convolve.

    A transposed convolution would leave a checkerboard pattern; this does not.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Twice the size."""
        # [b c 2h 2w]: each position becomes 2x2 equal ones, which the convolution smooths
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class MidBlock(nn.Module):
    """ResNet block, attention, ResNet block, at the smallest size, where attention is cheap."""

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, norm_groups=norm_groups)
        self.attn_1 = AttnBlock(channels, norm_groups=norm_groups)
        self.block_2 = ResnetBlock(channels, channels, norm_groups=norm_groups)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Keep size and width."""
        return self.block_2(self.attn_1(self.block_1(x)))
