r"""Encoder and decoder in row tiles: faster, and with little memory for large pictures.

Feature maps are computed some rows at a time (row_tiling.py), one picture at a time, and every
ResNet block writes its result over a map that is not read again. Two maps are stored at a time,
where the plain networks store four. In the `lean` mode of the decoder the largest maps are not
stored: the rows of an up-sampled map are made again each of the three times they are read, and
those between the convolutions of a block of the last level both times. That is a third more
work.

Maps       z [b 4 h w] -> image [b 3 8h 8w];  image [b 3 H W] -> moments [b 8 H/8 W/8]
Reference  labml_sd/autoencoder/; where results differ by more than rounding, that one is right
Tests      tests/acceleration/test_autoencoder.py
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.acceleration.layers import PackedConv, channels_last
from labml_sd.acceleration.packed import Packed, is_ordinary, new
from labml_sd.acceleration.row_tiling import (
    Rows,
    convolved,
    doubled,
    halved,
    normed,
    rows_of,
    store,
)
from labml_sd.acceleration.upsampling import PackedUpConv
from labml_sd.autoencoder.blocks import DownSample, MidBlock, ResnetBlock, UpSample
from labml_sd.autoencoder.decoder import Decoder
from labml_sd.autoencoder.encoder import Encoder
from labml_sd.config import AutoencoderConfig

LEAN_PIXELS = 768 * 768


def pays(device: torch.device, pixels: int) -> bool:
    """Whether to tile: on a GPU it saves memory, not time, so there only for large pictures."""
    return device.type == "cpu" or (device.type == "cuda" and pixels > LEAN_PIXELS)


class TiledResnetBlock:
    """`ResnetBlock`. The result is written over x, or if the width changes, over `h`."""

    def __init__(self, plain: nn.Module) -> None:
        assert isinstance(plain, ResnetBlock)
        self.norms = (plain.norm1, plain.norm2)
        self.conv1, self.conv2 = PackedConv.of(plain.conv1), PackedConv.of(plain.conv2)
        shortcut = plain.nin_shortcut
        self.shortcut = PackedConv.of(shortcut) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(
        self,
        rows: Rows,
        x: Float[Tensor, "1 c h w"] | None,
        like: Tensor,
        *,
        lean: bool = False,
    ) -> Float[Tensor, "1 c2 h w"]:
        """`x` is the stored map of `rows`, and may be written to; None if it is not stored.

        When `lean`, the map between the convolutions is not stored if the result fits over x.
        """
        target = x if self.shortcut is None else None
        middle = convolved(self.conv1, normed(self.norms[0], rows))
        if target is None or not lean:
            h = store(middle, like)
            middle, target = rows_of(h), h if target is None else target
        branch = convolved(self.conv2, normed(self.norms[1], middle))

        def make(first: int, end: int) -> Tensor:
            x = rows.make(first, end)
            return branch.make(first, end).add_(
                x if self.shortcut is None else self.shortcut(x)
            )

        return store(replace(branch, make=make), like, into=target)


class TiledMidBlock:
    """`MidBlock`. The maps are small; its attention is the plain one."""

    def __init__(self, plain: MidBlock) -> None:
        self.blocks = (TiledResnetBlock(plain.block_1), TiledResnetBlock(plain.block_2))
        self.attention = plain.attn_1

    def __call__(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
        """Keep size and width. x may be written to."""
        x = self.blocks[0](rows_of(x), x, x)
        x = channels_last(self.attention(x))
        return self.blocks[1](rows_of(x), x, x)


def tiled_blocks(level: nn.Module) -> list[TiledResnetBlock]:
    """The blocks of a level."""
    assert isinstance(level.block, nn.ModuleList)
    return [TiledResnetBlock(block) for block in level.block]


def structure(levels: Any, channels: int, *, more: int) -> AutoencoderConfig:
    """The numbers that an encoder or a decoder with these levels is built from.

    A decoder has one block `more` in each level than `n_res_blocks` says.
    """
    widths = [level.block[0].conv2.out_channels for level in levels]
    return AutoencoderConfig(
        channels=channels,
        channel_multipliers=tuple(width // channels for width in widths),
        n_res_blocks=len(levels[0].block) - more,
        norm_groups=1,
    )


class TiledDecoder(Packed, Decoder):
    """`Decoder`."""

    def __init__(self, plain: Decoder) -> None:
        super().__init__(plain)
        self.first, self.last = PackedConv.of(plain.conv_in), PackedConv.of(plain.conv_out)
        self.middle = TiledMidBlock(plain.mid)
        self.levels = [
            (
                tiled_blocks(level),
                PackedUpConv(up.conv) if isinstance(up := level.upsample, UpSample) else None,
            )
            for level in reversed(plain.up)
        ]

    @classmethod
    def fits(cls, plain: Decoder) -> bool:
        """Any widths and number of levels."""
        config = structure(plain.up, 1, more=1)
        return is_ordinary(plain, new(Decoder, config))

    def suits(self, x: Tensor, *others: Any) -> bool:
        """For latents of pictures that tiling pays for."""
        return super().suits(x, *others) and pays(x.device, self.pixels(x))

    def pixels(self, z: Float[Tensor, "b z h w"]) -> int:
        """Of one picture."""
        return z.shape[-2] * z.shape[-1] * 4 ** (len(self.levels) - 1)

    def forward(
        self, z: Float[Tensor, "b z h w"], *, lean: bool | None = None
    ) -> Float[Tensor, "b c H W"]:
        """`lean` None: for pictures of more than `LEAN_PIXELS`."""
        if lean is None:
            lean = self.pixels(z) > LEAN_PIXELS
        return torch.cat([self._decode(channels_last(one), lean) for one in torch.split(z, 1)])

    def _decode(self, z: Float[Tensor, "1 z h w"], lean: bool) -> Float[Tensor, "1 c H W"]:
        x = self.middle(self.first(z))
        rows, stored = rows_of(x), True
        for blocks, up in self.levels:
            for block in blocks:
                x = block(rows, x if stored else None, z, lean=lean and up is None)
                rows, stored = rows_of(x), True
            if up is not None:
                rows, stored = doubled(up, rows, z), not lean
                if stored:
                    x = store(rows, z)
                    rows = rows_of(x)
        return store(convolved(self.last, normed(self.norm_out, rows)), z)


class TiledEncoder(Packed, Encoder):
    """`Encoder`."""

    def __init__(self, plain: Encoder) -> None:
        super().__init__(plain)
        self.first, self.last = PackedConv.of(plain.conv_in), PackedConv.of(plain.conv_out)
        self.middle = TiledMidBlock(plain.mid)
        self.levels = [
            (
                tiled_blocks(level),
                PackedConv.of(down.conv)
                if isinstance(down := level.downsample, DownSample)
                else None,
            )
            for level in plain.down
        ]

    @classmethod
    def fits(cls, plain: Encoder) -> bool:
        """Any widths and number of levels."""
        config = structure(plain.down, plain.conv_in.out_channels, more=0)
        return is_ordinary(plain, new(Encoder, config))

    def suits(self, x: Tensor, *others: Any) -> bool:
        """For pictures that tiling pays for."""
        return super().suits(x, *others) and pays(x.device, x.shape[-2] * x.shape[-1])

    def forward(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b z2 h w"]:
        """Moments of the posterior, before `quant_conv`."""
        return torch.cat([self._encode(channels_last(one)) for one in torch.split(image, 1)])

    def _encode(self, image: Float[Tensor, "1 c H W"]) -> Float[Tensor, "1 z2 h w"]:
        x = store(convolved(self.first, rows_of(image)), image)
        for blocks, down in self.levels:
            for block in blocks:
                x = block(rows_of(x), x, image)
            if down is not None:
                x = store(halved(down, rows_of(x)), image)
        x = self.middle(x)
        return store(convolved(self.last, normed(self.norm_out, rows_of(x))), image)
