r"""The U-Net: predicts the noise in a noisy latent.

Maps       x_t [b 4 h w], t [1 or b], cond [rows n d_cond]  ->  eps [rows 4 h w]
Paper      Ronneberger et al. 2015, arXiv:1505.04597
           Rombach et al. 2022, arXiv:2112.10752, section 3.2
Reference  CompVis ldm/modules/diffusionmodules/openaimodel.py, UNetModel (attribute names kept)
Tests      tests/unet/test_unet.py
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from labml_sd.config import UNetConfig
from labml_sd.unet.attention import AttentionKind, CrossAttention
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample, norm
from labml_sd.unet.residuals import NO_RESIDUALS, UNetResiduals, add_residual
from labml_sd.unet.rows import repeat_rows
from labml_sd.unet.spatial_transformer import SpatialTransformer
from labml_sd.unet.time_embedding import sinusoids, time_mlp


class TimestepEmbedSequential(nn.Sequential):
    """A sequence of layers; ResBlocks also get the time, SpatialTransformers the prompt."""

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "b c h w"],
        t_emb: Float[Tensor, "times d"],
        cond: Float[Tensor, "rows n d_cond"],
    ) -> Float[Tensor, "b2 c2 h2 w2"]:
        """Give each layer the arguments that its class takes."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, t_emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, cond)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    r"""Down to a small feature map and up again, with skip connections between equal sizes.

    $$ \epsilon_\theta(x_t, t, c) $$

    `input_blocks` shrink the feature map, and the output of each is kept. `output_blocks`
    enlarge it again; each gets a kept output of its own size (the *skip connection*) beside its
    input. Fine detail passes through the skip connections, large structure through the middle.

    The configuration says how wide each level is (`channel_multipliers`) and which levels have
    transformers (`attention_levels`). The latent's sides must be multiples of
    `config.size_multiple`.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = time_mlp(config.channels)
        skips = self._build_down()
        width = skips[-1]
        self.middle_block = TimestepEmbedSequential(
            self._res_block(width, width),
            self._transformer(width),
            self._res_block(width, width),
        )
        self._build_up(skips)
        self.out = nn.Sequential(
            norm(config.channels, config.norm_groups),
            nn.SiLU(),
            nn.Conv2d(config.channels, config.out_channels, 3, padding=1),
        )

    def _build_down(self) -> list[int]:
        """Fill `input_blocks`; return the number of channels of each skip connection."""
        config = self.config
        width = config.channels
        blocks = [TimestepEmbedSequential(nn.Conv2d(config.in_channels, width, 3, padding=1))]
        skips = [width]
        for level, multiplier in enumerate(config.channel_multipliers):
            for _ in range(config.n_res_blocks):
                layers: list[nn.Module] = [self._res_block(width, config.channels * multiplier)]
                width = config.channels * multiplier
                if level in config.attention_levels:
                    layers.append(self._transformer(width))
                blocks.append(TimestepEmbedSequential(*layers))
                skips.append(width)
            if level != config.n_levels - 1:
                blocks.append(TimestepEmbedSequential(DownSample(width)))
                skips.append(width)
        self.input_blocks = nn.ModuleList(blocks)
        return skips

    def _build_up(self, skips: list[int]) -> None:
        """Fill `output_blocks`: one more per level, as a down-sampling has a skip too."""
        config, left = self.config, list(skips)
        width, blocks = left[-1], []
        for level, multiplier in reversed(list(enumerate(config.channel_multipliers))):
            for index in range(config.n_res_blocks + 1):
                layers: list[nn.Module] = [
                    self._res_block(width + left.pop(), config.channels * multiplier)
                ]
                width = config.channels * multiplier
                if level in config.attention_levels:
                    layers.append(self._transformer(width))
                if level > 0 and index == config.n_res_blocks:
                    layers.append(UpSample(width))
                blocks.append(TimestepEmbedSequential(*layers))
        self.output_blocks = nn.ModuleList(blocks)

    def _res_block(self, in_channels: int, out_channels: int) -> ResBlock:
        d_t_emb = 4 * self.config.channels
        return ResBlock(in_channels, out_channels, d_t_emb, norm_groups=self.config.norm_groups)

    def _transformer(self, channels: int) -> SpatialTransformer:
        config = self.config
        return SpatialTransformer(
            channels,
            config.d_cond,
            n_heads=config.heads(channels),
            n_layers=config.n_transformer_layers,
            norm_groups=config.norm_groups,
            linear=config.linear_projections,
        )

    def use_attention(self, kind: AttentionKind) -> None:
        """Choose how attention in this network is computed; the results agree up to rounding.

        "flash" is PyTorch's kernel, "normal" the formula step by step, "sliced" the formula
        with less memory.
        """
        for module in self.modules():
            if isinstance(module, CrossAttention):
                module.kind = kind

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        t: Num[Tensor, "#b"],
        cond: Float[Tensor, "rows n d_cond"],
        residuals: UNetResiduals = NO_RESIDUALS,
    ) -> Float[Tensor, "rows c2 h w"]:
        """Predict the noise for each row of `cond`: row r of the result belongs to `x[r % b]`.

        `t` counts schedule steps, 0 to 999, and may be fractional; it is one number for all
        latents or one for each. `rows` is a multiple of b: with guidance it is 2b, the negative
        prompts first. What does not depend on the prompt is computed once: x is repeated at the
        first cross-attention.
        """
        # [1 or b, 4c]
        t_emb = self.time_embed(sinusoids(t, self.config.channels).to(x.dtype))
        # Down. Every output is kept as a skip connection; those before the first
        # cross-attention have b rows, the others `rows`.
        skips = []
        for i, block in enumerate(self.input_blocks):
            x = block(x, t_emb, cond)
            if i in residuals.features:
                x = add_residual(x, residuals.features[i])
            skips.append(x)
        # Middle: the smallest feature map. [rows c h/f w/f]
        x = self.middle_block(x, t_emb, cond)
        if residuals.middle is not None:
            x = add_residual(x, residuals.middle)
        if residuals.skips:
            skips = [add_residual(*pair) for pair in zip(skips, residuals.skips, strict=True)]
        # Up. Each block gets its input and the last unused skip, joined along the channels.
        for block in self.output_blocks:
            skip = repeat_rows(skips.pop(), len(x))
            x = block(torch.cat([x, skip], dim=1), t_emb, cond)
        # [rows c2 h w]: norm, SiLU and the last convolution
        return self.out(x)
