r"""The U-Net: predicts the noise in a noisy latent.

Maps       x_t [b 4 h w], t [b], cond [b n d_cond]  ->  eps [b 4 h w]
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
from labml_sd.unet.spatial_transformer import SpatialTransformer
from labml_sd.unet.time_embedding import sinusoids, time_mlp


class TimestepEmbedSequential(nn.Sequential):
    """A sequence: its ResBlocks also take the time, its SpatialTransformers the prompt, others nothing."""

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "b c h w"],
        t_emb: Float[Tensor, "b d"],
        cond: Float[Tensor, "b n d_cond"],
    ) -> Float[Tensor, "b c2 h2 w2"]:
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
        t: Num[Tensor, " b"],
        cond: Float[Tensor, "b n d_cond"],
    ) -> Float[Tensor, "b c2 h w"]:
        """Predict the noise. `t` counts schedule steps, 0 to 999, and may lie between two."""
        t_emb = self.time_embed(sinusoids(t, self.config.channels).to(x.dtype))
        skips = []
        for block in self.input_blocks:
            x = block(x, t_emb, cond)
            skips.append(x)
        x = self.middle_block(x, t_emb, cond)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), t_emb, cond)
        return self.out(x)
