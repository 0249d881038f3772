r"""A 3x3 convolution behind a repetition of every position, with four ninths of its multiplications.

Up-sampling writes every number four times, and the convolution then multiplies all of the
copies. Along one side, what lies at an even place reads $x_{i-1}$ once and $x_i$ twice; what
lies at an odd place, $x_i$ twice and $x_{i+1}$ once:

$$ y_{2i} = g_0\, x_{i-1} + (g_1 + g_2)\, x_i, \qquad y_{2i+1} = (g_0 + g_1)\, x_i + g_2\, x_{i+1} $$

So weights that meet the same number are added beforehand, and each of the four kinds of places
is a 2x2 convolution of the small map: 16 multiplications for 36. In float32 the tiles of
winograd.py are better still, so this is the way of bfloat16 and float16 on a CPU. The sums of
weights are rounded, and so this layer loses 1.4 times as much to rounding as before, one layer
of many.

Maps       x [b c h w]  ->  [b c' 2h 2w]
Tests      tests/acceleration/test_upsampling.py
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.layers import Conv, packs_narrow

SUMS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))
"""At an even and at an odd place: which of three weights meet the first number read, and which the second."""


def sums_of_weights(g: Float[Tensor, "c2 c 3 3"]) -> Float[Tensor, "2 2 c2 c 2 2"]:
    """For an even and an odd row, and within it for an even and an odd column."""
    sums = torch.tensor(SUMS, dtype=g.dtype, device=g.device)
    return torch.einsum("pik, qjl, ockl -> pqocij", sums, sums, g)


class UpConv:
    """Repeat every position, then convolve. x is in channels-last memory, and so is the result."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.conv, self.out_channels = Conv.of(layer), layer.out_channels
        self.of_rows: list[Conv] = []  # of even rows, and of odd ones

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Beyond the map lie zeros."""
        if not self.pays(x):
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.within(F.pad(x, (0, 0, 1, 1)))

    def pays(self, x: Tensor) -> bool:
        """In narrow types on a CPU."""
        return packs_narrow(x)

    def within(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Of all rows but the first and the last: those are only read."""
        if not self.of_rows:
            self.of_rows = self._of_rows()
        b, h, w, c2 = len(x), x.shape[2] - 2, x.shape[3], self.out_channels
        y = x.new_empty(b, h, 2, w, 2, c2)
        for p, conv in enumerate(self.of_rows):
            columns = conv(x[:, :, p : p + h + 1]).permute(0, 2, 3, 1).view(b, h, w + 1, 2, c2)
            for q in range(2):
                y[:, :, p, :, q] = columns[:, :, q : q + w, q]
        return y.view(b, 2 * h, 2 * w, c2).permute(0, 3, 1, 2)

    def _of_rows(self) -> list[Conv]:
        """Even and odd columns at once; of either it makes one more than there are."""
        g, bias = self.conv.weight.detach(), self.conv.bias
        sums = sums_of_weights(g.to(torch.promote_types(g.dtype, torch.float32))).to(g.dtype)
        twice = None if bias is None else bias.detach().repeat(2)
        return [Conv(weight.flatten(0, 1), twice, padding=(0, 1)) for weight in sums]
