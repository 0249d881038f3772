r"""Decoder: latent to image.

Maps       z [b z h w]  ->  image [b 3 f*h f*w], about in [-1, 1]
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1 and appendix G
Reference  CompVis ldm/modules/diffusionmodules/model.py, Decoder (attribute names of the
           checkpoint)
Tests      tests/autoencoder/test_decoder.py
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder.blocks import MidBlock, ResnetBlock, UpSample, norm
from labml_sd.config import AutoencoderConfig


class UpLevel(nn.Module):
    """The blocks of one size, then up-sampling; level 0, the largest, has no up-sampling."""

    def __init__(
        self, in_channels: int, out_channels: int, config: AutoencoderConfig, *, last: bool
    ) -> None:
        super().__init__()
        # One block more than a level of the encoder: it has to generate detail.
        widths = [in_channels] + [out_channels] * (config.n_res_blocks + 1)
        self.block = nn.ModuleList(
            ResnetBlock(a, b, norm_groups=config.norm_groups) for a, b in pairwise(widths)
        )
        self.upsample = nn.Identity() if last else UpSample(out_channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Change the width to c2, then double the size (except on the last level)."""
        # [b c2 h w]: the first block changes the width
        for block in self.block:
            x = block(x)
        # [b c2 2h 2w]
        return self.upsample(x)


class Decoder(nn.Module):
    """The encoder in reverse. Levels are numbered by size: `up.0`, the largest, runs last."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in config.channel_multipliers]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = MidBlock(widths[-1], norm_groups=config.norm_groups)
        self.up = nn.ModuleList(
            UpLevel(a, b, config, last=level == 0)
            for level, (a, b) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
        )
        self.norm_out = norm(widths[0], config.norm_groups)
        self.conv_out = nn.Conv2d(widths[0], config.image_channels, 3, padding=1)

    def forward(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Run the levels from the smallest size to the largest."""
        # [b c_last h w]: the width of the last level of the encoder
        x = self.mid(self.conv_in(z))
        # each level but the last doubles the size; finally [b c_first f*h f*w]
        for level in reversed(self.up):
            x = level(x)
        # [b 3 f*h f*w]
        return self.conv_out(F.silu(self.norm_out(x)))
