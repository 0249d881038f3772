r"""The autoencoder once more: the same numbers, sooner, and with little memory for large pictures.

Read `labml_sd/autoencoder/` to learn what is computed. Here maps are walked in bands of rows
(bands.py), one picture at a time, and every ResNet block writes its result over a map that
nobody reads again. Two maps are stored at a time, where the plain way holds four. When `lean`,
the largest maps are not stored: the rows of an up-sampled map are made anew each of the three
times they are read, and those in the middle of a block of the last level both times. That is a
third more work.

Maps       z [b 4 h w]  <->  image [b 3 8h 8w]
Reference  labml_sd/autoencoder/; where the two differ by more than rounding, that one is right
Tests      tests/acceleration/test_autoencoder.py
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.acceleration.layers import Conv, of_kind
from labml_sd.acceleration.row_tiling import (
    Rows,
    convolved,
    doubled,
    halved,
    normed,
    rows_of,
    store,
)
from labml_sd.acceleration.upsampling import UpConv
from labml_sd.autoencoder.autoencoder import Autoencoder
from labml_sd.autoencoder.blocks import DownSample, MidBlock, ResnetBlock, UpSample
from labml_sd.autoencoder.decoder import UpLevel
from labml_sd.autoencoder.encoder import DownLevel
from labml_sd.autoencoder.gaussian import GaussianPosterior

LEAN_PIXELS = 768 * 768


class FastResnet:
    """`ResnetBlock`. Its result is written over x, or where x cannot hold it, over the map in its middle."""

    def __init__(self, block: ResnetBlock) -> None:
        self.block = block
        self.conv1, self.conv2 = Conv.of(block.conv1), Conv.of(block.conv2)
        shortcut = block.nin_shortcut
        self.shortcut = Conv.of(shortcut) if isinstance(shortcut, nn.Conv2d) else None

    def __call__(
        self,
        rows: Rows,
        x: Float[Tensor, "1 c h w"] | None,
        like: Tensor,
        *,
        lean: bool = False,
    ) -> Float[Tensor, "1 c2 h w"]:
        """`x` is the stored map of `rows`, and may be written to; None where they are made when asked for.

        When `lean`, the map in the middle is not stored where the result can be written over x.
        """
        target = x if self.shortcut is None else None
        middle = convolved(self.conv1, normed(self.block.norm1, rows))
        if target is None or not lean:
            h = store(middle, like)
            middle, target = rows_of(h), h if target is None else target
        branch = convolved(self.conv2, normed(self.block.norm2, middle))

        def make(first: int, end: int) -> Tensor:
            x = rows.make(first, end)
            return branch.make(first, end).add_(
                x if self.shortcut is None else self.shortcut(x)
            )

        return store(replace(branch, make=make), like, into=target)


def fast_blocks(blocks: nn.Module) -> list[FastResnet]:
    """What takes the place of the blocks of a level."""
    return [FastResnet(of_kind(ResnetBlock, block)) for block in of_kind(nn.ModuleList, blocks)]


class FastMid:
    """`MidBlock`: small maps; its attention is one call as it is."""

    def __init__(self, mid: MidBlock) -> None:
        self.blocks, self.attention = (
            (FastResnet(mid.block_1), FastResnet(mid.block_2)),
            mid.attn_1,
        )

    def __call__(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
        """Keep size and width. x may be written to."""
        x = self.blocks[0](rows_of(x), x, x)
        x = self.attention(x).contiguous(memory_format=torch.channels_last)
        return self.blocks[1](rows_of(x), x, x)


class FastDecoder:
    """A decoder made ready; weights that are changed afterwards are not seen."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        decoder, self.post_quant_conv = autoencoder.decoder, autoencoder.post_quant_conv
        self.factor = autoencoder.config.downsampling_factor
        self.conv_in, self.conv_out = Conv.of(decoder.conv_in), Conv.of(decoder.conv_out)
        self.mid, self.norm_out = FastMid(decoder.mid), decoder.norm_out
        up = [of_kind(UpLevel, level) for level in reversed(decoder.up)]
        self.levels = [
            (
                fast_blocks(level.block),
                UpConv(way.conv) if isinstance(way := level.upsample, UpSample) else None,
            )
            for level in up
        ]

    def __call__(
        self, z: Float[Tensor, "b z h w"], *, lean: bool | None = None
    ) -> Float[Tensor, "b c H W"]:
        """Images of latents of the posterior. `lean` None: where the picture has more than `LEAN_PIXELS`."""
        if lean is None:
            lean = z.shape[-2] * z.shape[-1] * self.factor**2 > LEAN_PIXELS
        z = self.post_quant_conv(z)
        return torch.cat([self._decode(one, lean) for one in torch.split(z, 1)])

    def _decode(self, z: Float[Tensor, "1 z h w"], lean: bool) -> Float[Tensor, "1 c H W"]:
        x = self.mid(self.conv_in(z.contiguous(memory_format=torch.channels_last)))
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
        return store(convolved(self.conv_out, normed(self.norm_out, rows)), z)


class FastEncoder:
    """An encoder made ready; weights that are changed afterwards are not seen."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        encoder, self.quant_conv = autoencoder.encoder, autoencoder.quant_conv
        self.conv_in, self.conv_out = Conv.of(encoder.conv_in), Conv.of(encoder.conv_out)
        self.mid, self.norm_out = FastMid(encoder.mid), encoder.norm_out
        down = [of_kind(DownLevel, level) for level in encoder.down]
        self.levels = [
            (
                fast_blocks(level.block),
                Conv.of(way.conv) if isinstance(way := level.downsample, DownSample) else None,
            )
            for level in down
        ]

    def __call__(self, image: Float[Tensor, "b c H W"]) -> GaussianPosterior:
        """`Autoencoder.posterior`."""
        moments = torch.cat([self._encode(one) for one in torch.split(image, 1)])
        return GaussianPosterior(self.quant_conv(moments))

    def _encode(self, image: Float[Tensor, "1 c H W"]) -> Float[Tensor, "1 z2 h w"]:
        image = image.contiguous(memory_format=torch.channels_last)
        x = store(convolved(self.conv_in, rows_of(image)), image)
        for blocks, down in self.levels:
            for block in blocks:
                x = block(rows_of(x), x, image)
            if down is not None:
                x = store(halved(down, rows_of(x)), image)
        x = self.mid(x)
        return store(convolved(self.conv_out, normed(self.norm_out, rows_of(x))), image)
