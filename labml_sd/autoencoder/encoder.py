r"""Encoder: image to the moments (mean and log-variance) of a latent.

Maps       image [b 3 H W] in [-1, 1]  ->  moments [b 2z H/f W/f]
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1 and appendix G
Reference  CompVis ldm/modules/diffusionmodules/model.py, Encoder (attribute names of the
           checkpoint)
Tests      tests/autoencoder/test_encoder.py
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder.blocks import DownSample, MidBlock, ResnetBlock, norm
from labml_sd.config import AutoencoderConfig


class DownLevel(nn.Module):
    """The blocks of one size, then down-sampling; the last level has no down-sampling."""

    def __init__(
        self, in_channels: int, out_channels: int, config: AutoencoderConfig, *, last: bool
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * config.n_res_blocks
        self.block = nn.ModuleList(
            ResnetBlock(a, b, norm_groups=config.norm_groups) for a, b in pairwise(widths)
        )
        self.downsample = nn.Identity() if last else DownSample(out_channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Change the width to c2, then halve the size (except on the last level)."""
        # [b c2 h w]: the first block changes the width
        for block in self.block:
            x = block(x)
        # [b c2 h/2 w/2]
        return self.downsample(x)


class Encoder(nn.Module):
    """Convolution, levels, middle block, and a last convolution to the moments.

    Each level but the last halves both sides, which leaves a quarter of the positions. More
    channels make up for part of it.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.channel_multipliers]
        self.conv_in = nn.Conv2d(config.image_channels, config.channels, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(a, b, config, last=level == len(widths) - 1)
            for level, (a, b) in enumerate(
                zip([config.channels, *widths], widths, strict=False)
            )
        )
        self.mid = MidBlock(widths[-1], norm_groups=config.norm_groups)
        self.norm_out = norm(widths[-1], config.norm_groups)
        # Twice the channels of the latent: the mean and the log-variance of each number.
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.z_channels, 3, padding=1)

    def forward(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b z2 h w"]:
        """Run the levels from the largest size to the smallest."""
        # [b c_first H W]
        x = self.conv_in(image)
        # each level but the last halves the size; finally [b c_last H/f W/f]
        for level in self.down:
            x = level(x)
        # [b c_last H/f W/f]: attention lets every position see the whole image
        x = self.mid(x)
        # [b 2z H/f W/f]: the moments
        return self.conv_out(F.silu(self.norm_out(x)))
