r"""Up-sampling and a 3x3 convolution in one step, with four ninths of the multiplications.

Up-sampling writes every number four times, and the convolution then multiplies all the copies.
Along one side, an even position reads $x_{i-1}$ once and $x_i$ twice; an odd position reads
$x_i$ twice and $x_{i+1}$ once:

$$ y_{2i} = g_0\, x_{i-1} + (g_1 + g_2)\, x_i, \qquad
   y_{2i+1} = (g_0 + g_1)\, x_i + g_2\, x_{i+1} $$

So the weights that meet the same number are added in advance, and each of the four kinds of
positions is a 2x2 convolution of the small map: 16 multiplications instead of 36. In float32
Winograd's algorithm is faster still (winograd.py), so this is for bfloat16 and float16 on a
CPU. The sums of weights are rounded, and so this layer loses 1.4 times as much to rounding as
before, one layer of many.

Maps       x [b c h w]  ->  [b c2 2h 2w]
Tests      tests/acceleration/test_upsampling.py
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.copies import Weights
from labml_sd.acceleration.layers import PackedConv
from labml_sd.acceleration.onednn import packs_half

# At an even and at an odd position: which of three weights meet the first number read, and
# which the second.
SUMS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))


def sums_of_weights(g: Float[Tensor, "c2 c 3 3"]) -> Float[Tensor, "2 2 c2 c 2 2"]:
    """For even and odd rows (first axis), and for even and odd columns (second axis)."""
    sums = torch.tensor(SUMS, dtype=g.dtype, device=g.device)
    return torch.einsum("pik, qjl, ockl -> pqocij", sums, sums, g)


class PackedUpConv:
    """Repeat every position, then convolve. x and the result are in channels-last memory."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self.conv, self.bias = PackedConv.of(layer), layer.bias
        self.out_channels = layer.out_channels
        self.of_rows: list[PackedConv] = []  # of even rows, and of odd ones

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """With zeros around the map."""
        if not self.pays(x):
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.within(F.pad(x, (0, 0, 1, 1)))

    def pays(self, x: Tensor) -> bool:
        """Whether it is faster for these numbers: in half precision on a CPU."""
        return packs_half(x)

    def within(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Of all rows but the first and the last: those are only read."""
        if not self.of_rows:
            self.of_rows = self.conv.weights.copy("sums", self._of_rows)
        b, h, w, c2 = len(x), x.shape[2] - 2, x.shape[3], self.out_channels
        y = x.new_empty(b, h, 2, w, 2, c2)
        bias = None if self.bias is None else self.bias.repeat(2)
        for p, conv in enumerate(self.of_rows):
            # [b h w+1 2 c2]: even and odd columns, one more of each than there are
            columns = conv(x[:, :, p : p + h + 1], bias)
            columns = columns.permute(0, 2, 3, 1).view(b, h, w + 1, 2, c2)
            for q in range(2):
                y[:, :, p, :, q] = columns[:, :, q : q + w, q]
        return y.view(b, 2 * h, 2 * w, c2).permute(0, 3, 1, 2)

    @staticmethod
    def _of_rows(g: Float[Tensor, "c2 c 3 3"]) -> list[PackedConv]:
        """Even and odd columns in one convolution, for even rows and for odd ones."""
        sums = sums_of_weights(g.to(torch.promote_types(g.dtype, torch.float32))).to(g.dtype)
        return [PackedConv(Weights(s.flatten(0, 1)), None, padding=(0, 1)) for s in sums]
