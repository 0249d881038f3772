r"""The U-Net once more, for a whole run: the same weights and the same numbers, sooner.

Read `labml_sd/unet/` to learn what is computed. Here is how to compute it with less work when
one prompt is asked about at many levels, with guidance:

- what lies before the first cross-attention does not see the prompt, so both halves of guidance share it;
- keys and values of the prompt are the same at every level: once a run;
- what the time adds in a block is the same at every position of every picture: it goes into the bias of the
  convolution, once a level;
- queries, keys and values of self-attention are one product, and a 1x1 convolution is a product over tokens;
- the wide middle of the feed-forward runs over some rows at a time (transformer.py);
- weights are laid out for the machine once (layers.py), and in half precision sums are made where a layer
  writes its numbers, and a repeated map is convolved without being repeated (upsampling.py).

Maps       x [b 4 h w], t, prompts [k*b n d_cond]  ->  eps [k*b 4 h w]
Reference  labml_sd/unet/unet.py; where the two differ by more than rounding, that one is right
Tests      tests/acceleration/test_unet.py
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.layers import Conv, of_kind
from labml_sd.acceleration.transformer import FastTransformer, KeysAndValues, for_each
from labml_sd.acceleration.upsampling import UpConv
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample
from labml_sd.unet.spatial_transformer import SpatialTransformer
from labml_sd.unet.time_embedding import sinusoids
from labml_sd.unet.unet import UNet

Prompted = Callable[[Tensor, float], Tensor]
"""(x [b c h w], t) -> eps, a row for each prompt."""


def normed(norm: nn.Module, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Group norm and SiLU, with one new tensor instead of two."""
    return F.silu(norm(x), inplace=True)


class FastResBlock:
    """`ResBlock` with the time in the first convolution's bias."""

    def __init__(self, block: ResBlock) -> None:
        self.norms = (block.in_layers[0], block.out_layers[0])
        first, second = block.in_layers[2], block.out_layers[3]
        self.convs = (Conv.of(of_kind(nn.Conv2d, first)), Conv.of(of_kind(nn.Conv2d, second)))
        self.emb_layers = block.emb_layers
        skip = block.skip_connection
        # Without a convolution x is copied, for the way down keeps it for the way up.
        self.skip: Callable[[Tensor], Tensor] = (
            Conv.of(skip) if isinstance(skip, nn.Conv2d) else torch.clone
        )

    def bias(self, t_emb: Float[Tensor, "1 d"]) -> Float[Tensor, " c"]:
        """What is added to every position: the convolution's own bias, and the time."""
        added = self.emb_layers(t_emb)[0]
        return added if self.convs[0].bias is None else self.convs[0].bias + added

    def __call__(
        self, x: Float[Tensor, "b c h w"], bias: Float[Tensor, " c2"]
    ) -> Float[Tensor, "b c2 h w"]:
        """Norm, convolution, norm, convolution, and the way around them."""
        h = self.convs[0](normed(self.norms[0], x), bias)
        return self.convs[1].onto(normed(self.norms[1], h), self.skip(x))


FastLayer = FastResBlock | FastTransformer | UpConv | Conv


def fast_layer(layer: nn.Module) -> FastLayer:
    """What takes the place of a layer of the U-Net."""
    match layer:
        case ResBlock():
            return FastResBlock(layer)
        case SpatialTransformer():
            return FastTransformer(layer)
        case UpSample():
            return UpConv(layer.conv)
        case DownSample():
            return Conv.of(layer.op)
        case nn.Conv2d():
            return Conv.of(layer)
    raise TypeError(f"no fast layer for a {type(layer).__name__}")


def fast_layers(block: nn.Module) -> list[FastLayer]:
    """What takes the place of a block of the U-Net."""
    return [fast_layer(layer) for layer in of_kind(nn.Sequential, block)]


class FastUNet:
    """A U-Net made ready. Weights that are changed afterwards are not seen; no gradients are kept."""

    def __init__(self, unet: UNet) -> None:
        # The U-Net itself is not held: it is the key under which road.py keeps this.
        self.channels, self.time_embed = unet.config.channels, unet.time_embed
        self.down = [fast_layers(block) for block in unet.input_blocks]
        self.middle = fast_layers(unet.middle_block)
        self.up = [fast_layers(block) for block in unet.output_blocks]
        self.norm_out, self.conv_out = unet.out[0], Conv.of(of_kind(nn.Conv2d, unet.out[2]))
        self.layers = [
            layer for block in [*self.down, self.middle, *self.up] for layer in block
        ]

    def prompted(self, cond: Float[Tensor, "rows n d_cond"]) -> Prompted:
        """Bind the prompts of a run: a row for each picture, or for guidance two halves.

        What is returned takes x with as many rows as `cond`, or as one half of it, uncond
        first.
        """
        given = {
            id(layer): layer.keys_and_values(cond)
            for layer in self.layers
            if isinstance(layer, FastTransformer)
        }
        biases: dict[float, dict[int, Tensor]] = {}

        def eps(x: Float[Tensor, "b c h w"], t: float) -> Float[Tensor, "rows c2 h w"]:
            if t not in biases:  # the last level is kept: some samplers come back to it
                biases.clear()
                biases[t] = self._biases(t, x)
            return self._predict(x, len(cond), biases[t], given)

        return eps

    def _biases(self, t: float, x: Tensor) -> dict[int, Tensor]:
        times = torch.full((1,), t, dtype=torch.float32, device=x.device)  # as `plainly` asks
        t_emb = self.time_embed(sinusoids(times, self.channels).to(x.dtype))
        return {
            id(layer): layer.bias(t_emb)
            for layer in self.layers
            if isinstance(layer, FastResBlock)
        }

    def _predict(
        self,
        x: Float[Tensor, "b c h w"],
        rows: int,
        biases: dict[int, Tensor],
        given: dict[int, list[KeysAndValues]],
    ) -> Float[Tensor, "rows c2 h w"]:
        def run(block: list[FastLayer], x: Tensor) -> Tensor:
            for layer in block:
                if isinstance(layer, FastResBlock):
                    x = layer(x, biases[id(layer)])
                elif isinstance(layer, FastTransformer):
                    x = layer(x, given[id(layer)])
                else:
                    x = layer(x)
            return x

        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for block in self.down:
            x = run(block, x)
            skips.append(x)
        x = run(self.middle, x)
        for block in self.up:
            x = run(block, torch.cat([for_each(x, rows), for_each(skips.pop(), rows)], dim=1))
        return self.conv_out(normed(self.norm_out, for_each(x, rows)))
