r"""Packed forms of the U-Net's convolutional blocks.

Maps       as in labml_sd/unet/blocks.py
Reference  labml_sd/unet/blocks.py; where results differ by more than rounding, that file
           is right
Tests      tests/acceleration/test_unet_blocks.py
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.layers import PackedConv, channels_last
from labml_sd.acceleration.packed import Packed, is_ordinary, new
from labml_sd.acceleration.upsampling import PackedUpConv
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample
from labml_sd.unet.rows import repeat_rows


def normed(norm: nn.Module, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Group norm and SiLU, with one new tensor instead of two."""
    return F.silu(norm(x), inplace=True)


class PackedResBlock(Packed, ResBlock):
    """`ResBlock`. One time for all rows goes into the bias of the first convolution."""

    def __init__(self, plain: ResBlock) -> None:
        super().__init__(plain)
        skip = plain.skip_connection
        self.conv1 = PackedConv.of(plain.in_layers[2])
        self.conv2 = PackedConv.of(plain.out_layers[3])
        self.skip = PackedConv.of(skip) if isinstance(skip, nn.Conv2d) else None

    @classmethod
    def fits(cls, plain: ResBlock) -> bool:
        """With or without a convolution in the skip connection."""
        width = 2 if isinstance(plain.skip_connection, nn.Conv2d) else 1
        return is_ordinary(plain, new(ResBlock, 1, width, 1, norm_groups=1))

    def forward(
        self, x: Float[Tensor, "b c h w"], t_emb: Float[Tensor, "times d"]
    ) -> Float[Tensor, "b c2 h w"]:
        """Norm, convolution, norm, convolution, and the skip connection."""
        x = channels_last(x)
        time = self.emb_layers(t_emb)  # [times c2]
        h = normed(self.in_layers[0], x)
        if len(time) == 1:
            bias = time[0] if self.conv1.bias is None else self.conv1.bias + time[0]
            h = self.conv1(h, bias)
        else:
            h = self.conv1(h).add_(repeat_rows(time, len(x))[:, :, None, None])
        h = normed(self.out_layers[0], h)
        return self.conv2.plus(h, x) if self.skip is None else self.conv2.onto(h, self.skip(x))


class PackedConv2d(Packed, nn.Conv2d):
    """`nn.Conv2d` that keeps the size, with an odd kernel."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__(plain)
        self.conv = PackedConv.of(plain)

    @classmethod
    def fits(cls, plain: nn.Conv2d) -> bool:
        """Plain convolutions only: no dilation, no groups, zeros around the map."""
        side = plain.kernel_size[0]
        return is_ordinary(plain, new(nn.Conv2d, 1, 1, side, padding=side // 2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolve."""
        return self.conv(channels_last(x))


class PackedDownSample(Packed, DownSample):
    """`DownSample`."""

    def __init__(self, plain: DownSample) -> None:
        super().__init__(plain)
        self.conv = PackedConv.of(plain.op)

    @classmethod
    def fits(cls, plain: DownSample) -> bool:
        """Any width."""
        return is_ordinary(plain, new(DownSample, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Convolve with stride 2."""
        return self.conv(channels_last(x))


class PackedUpSample(Packed, UpSample):
    """`UpSample`. In half precision the repeated map is not made (upsampling.py)."""

    def __init__(self, plain: UpSample) -> None:
        super().__init__(plain)
        self.up_conv = PackedUpConv(plain.conv)

    @classmethod
    def fits(cls, plain: UpSample) -> bool:
        """Any width."""
        return is_ordinary(plain, new(UpSample, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Repeat every position, then convolve."""
        return self.up_conv(channels_last(x))
