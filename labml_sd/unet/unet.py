r"""The U-Net: predicts the noise in a noisy latent.

Maps       x_t [b 4 h w], t [1] or [b], cond [rows n d_cond]  ->  eps [rows 4 h w]
Paper      Ronneberger et al. 2015, arXiv:1505.04597; Rombach et al. 2022, arXiv:2112.10752, section 3.2
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
    """A sequence: its ResBlocks also take the time, its SpatialTransformers the prompt, others nothing."""

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "b c h w"],
        t_emb: Float[Tensor, "times d"],
        cond: Float[Tensor, "rows n d_cond"],
    ) -> Float[Tensor, "b2 c2 h2 w2"]:
        """Hand each layer what it asks for."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, t_emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, cond)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    r"""Down, through the middle, and up again, with a bridge at every block of the way.

    $$ \epsilon_\theta(x_t, t, c) $$

    `input_blocks` shrink the map and keep each result; `output_blocks` grow it again, and each
    takes the kept result of its own size (the *skip*) beside its input. What is fine goes over
    the bridges, what is large goes through the middle.

    `channel_multipliers` and `attention_levels` of the configuration say how wide each level is
    and which of them hold transformers. The latent's sides must be multiples of
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
        """Fill `input_blocks`; return the width of each kept result."""
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
        """Fill `output_blocks`: a block more per level than on the way down, as down-sampling is kept too."""
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
            n_heads=config.n_heads,
            n_layers=config.n_transformer_layers,
            norm_groups=config.norm_groups,
        )

    def use_attention(self, kind: AttentionKind) -> None:
        """Choose how all attention of this network is computed; the results agree up to rounding.

        "flash" is PyTorch's kernel, "normal" the formula, "sliced" the formula in little
        memory.
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
        """Predict the noise under each of the prompts: row r of the answer belongs to `x[r % b]`.

        `t` counts schedule steps, 0 to 999, and may lie between two; it is one number for all
        latents or one for each. `cond` has a multiple of b rows: under guidance 2b, the negative
        prompts first. Both halves share all work up to the first cross-attention, where x is
        repeated.
        """
        # [#b 4c]: the time embedding, the same for every position
        t_emb = self.time_embed(sinusoids(t, self.config.channels).to(x.dtype))
        # Down: every block keeps its output as a skip connection.
        skips = []
        for i, block in enumerate(self.input_blocks):
            x = block(x, t_emb, cond)
            if i in residuals.features:
                x = add_residual(x, residuals.features[i])
            skips.append(x)
        # Middle: the smallest map, [rows c h/f w/f].
        x = self.middle_block(x, t_emb, cond)
        if residuals.middle is not None:
            x = add_residual(x, residuals.middle)
        if residuals.skips:
            skips = [add_residual(*pair) for pair in zip(skips, residuals.skips, strict=True)]
        # Up: the last skip first. A skip from before the first cross-attention still has b rows.
        for block in self.output_blocks:
            skip = repeat_rows(skips.pop(), len(x))
            x = block(torch.cat([x, skip], dim=1), t_emb, cond)
        # [rows c2 h w]: norm, activation and the last convolution
        return self.out(x)
