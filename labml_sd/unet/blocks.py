r"""The convolutional blocks of the U-Net: ResBlock with time, down-sampling, up-sampling.

Maps       x [b c h w], t_emb [1 or b d]  ->  [b c2 h w]
Paper      Ho et al. 2020, arXiv:2006.11239, appendix B
           Dhariwal and Nichol 2021, arXiv:2105.05233, section 3
Reference  CompVis ldm/modules/diffusionmodules/openaimodel.py (attribute names kept)
Tests      tests/unet/test_blocks.py
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.unet.rows import repeat_rows


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """Group norm with eps 1e-5. The autoencoder and the spatial transformer use 1e-6."""
    return nn.GroupNorm(groups, channels, eps=1e-5)


class ResBlock(nn.Module):
    r"""Two convolutions with a skip connection; the time embedding is added between them.

    $$ h = \mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(x))) + W\,\mathrm{silu}(t_{emb}) $$
    $$ y = \mathrm{skip}(x) + \mathrm{conv}_2(\mathrm{silu}(\mathrm{norm}_2(h))) $$

    The time embedding becomes one number per channel, added at every position alike. The
    indices in `in_layers` and `out_layers` that have no weights hold SiLU and dropout.
    """

    def __init__(
        self, in_channels: int, out_channels: int, d_t_emb: int, *, norm_groups: int = 32
    ) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            norm(in_channels, norm_groups),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(d_t_emb, out_channels))
        self.out_layers = nn.Sequential(
            norm(out_channels, norm_groups),
            nn.SiLU(),
            nn.Dropout(0.0),  # drops nothing; keeps the convolution at the checkpoint's index 3
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        # A sum needs equal widths: where they differ, a 1x1 convolution changes the width of x.
        self.skip_connection: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip_connection = nn.Conv2d(in_channels, out_channels, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], t_emb: Float[Tensor, "times d"]
    ) -> Float[Tensor, "b c2 h w"]:
        """Keep the size, change the width. t_emb: one row for all of x, or one per latent."""
        time = self.emb_layers(t_emb)[:, :, None, None]  # [times c2 1 1]: a number per channel
        if len(time) > 1:
            time = repeat_rows(time, len(x))  # [b c2 1 1]
        h = self.in_layers(x) + time  # [b c2 h w]
        return self.skip_connection(x) + self.out_layers(h)


class DownSample(nn.Module):
    """Halve both sides. Pads all four sides by one; the autoencoder's only right and bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """A convolution with stride 2, so the down-sampling is learnt."""
        return self.op(x)


class UpSample(nn.Module):
    """Double both sides: repeat every position, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Nearest neighbour, as in the autoencoder."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
