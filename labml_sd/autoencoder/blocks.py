r"""The blocks of the autoencoder: ResNet block, attention over positions, down- and up-sampling.

Maps       x [b c h w]  ->  [b c' h w], [b c h/2 w/2] or [b c 2h 2w]
Paper      Esser et al. 2021 (VQGAN), arXiv:2012.09841, appendix A
Reference  CompVis ldm/modules/diffusionmodules/model.py (attribute names kept for the checkpoint)
Tests      tests/autoencoder/test_blocks.py
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """Group norm with eps 1e-6.

    The U-Net's blocks use 1e-5. No checkpoint key tells the two apart, and at unit scale the
    error hides; it shows where activations are small.
    """
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    r"""Two convolutions and a way around them.

    $$ y = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{norm}_2(
        \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x)))))) $$

    Norm and activation stand before the convolution, so the way around stays a plain sum from
    end to end (He et al. 2016, arXiv:1603.05027). Unlike the U-Net's ResBlock it knows no time.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm1 = norm(in_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels, norm_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        # A sum needs equal widths: a 1x1 convolution changes the width of the way around.
        self.nin_shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """Keep the size, change the width."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    r"""Self-attention over the positions of a feature map, with one head.

    $$ y = x + W_o\, V\, \mathrm{softmax}\!\left(\frac{Q^\top K}{\sqrt{c}}\right)^{\!\top} $$

    The tokens are the h*w positions, the features are the channels. The softmax runs over the
    positions that are looked at, so every position takes a weighted mean of all values. A 1x1
    convolution is a linear layer applied at each position, which is why `q`, `k`, `v` are
    convolutions here.
    """

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm = norm(channels, norm_groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Let every position look at every other one."""
        normed = self.norm(x)
        q, k, v = (
            rearrange(layer(normed), "b c h w -> b 1 (h w) c").contiguous()
            for layer in (self.q, self.k, self.v)
        )
        looked = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(looked, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class DownSample(nn.Module):
    """Halve both sides with a strided convolution.

    The pad is one row at the bottom and one column at the right, and none at the top and left.
    The U-Net's down-sampling pads all four sides. With the wrong pad every shape still fits,
    and the picture moves.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Pad as left, right, top, bottom = 0, 1, 0, 1; then take every second position."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class UpSample(nn.Module):
    """Double both sides: repeat every position, then smooth the steps with a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """A transposed convolution would leave a checkerboard; repeating does not."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class MidBlock(nn.Module):
    """ResNet block, attention, ResNet block, at the smallest size: only here is the whole picture seen."""

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, norm_groups=norm_groups)
        self.attn_1 = AttnBlock(channels, norm_groups=norm_groups)
        self.block_2 = ResnetBlock(channels, channels, norm_groups=norm_groups)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Keep size and width."""
        return self.block_2(self.attn_1(self.block_1(x)))
