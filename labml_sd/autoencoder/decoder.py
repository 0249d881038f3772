r"""Decoder: a latent becomes an image.

Maps       z [b z h w]  ->  image [b 3 f*h f*w], about [-1, 1]
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1 and appendix G
Reference  CompVis ldm/modules/diffusionmodules/model.py, Decoder (attribute names kept for the checkpoint)
Tests      tests/autoencoder/test_decoder.py
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder.blocks import MidBlock, ResnetBlock, UpSample, norm
from labml_sd.config import AutoencoderConfig


class UpLevel(nn.Module):
    """The blocks of one size, and the way up to the next. Level 0, the largest, has no way up."""

    def __init__(
        self, in_channels: int, out_channels: int, config: AutoencoderConfig, *, last: bool
    ) -> None:
        super().__init__()
        # One block more than the encoder's level: making up detail takes more work than
        # dropping it.
        widths = [in_channels] + [out_channels] * (config.n_res_blocks + 1)
        self.block = nn.ModuleList(
            ResnetBlock(a, b, norm_groups=config.norm_groups) for a, b in pairwise(widths)
        )
        self.upsample = nn.Identity() if last else UpSample(out_channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Blocks, then twice the size."""
        for block in self.block:
            x = block(x)
        return self.upsample(x)


class Decoder(nn.Module):
    """The encoder's mirror. `up.0` is the largest size and runs last: checkpoints number levels by size."""

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
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))
