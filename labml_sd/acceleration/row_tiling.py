r"""Row tiling: a feature map computed some rows at a time, without a seam.

A convolution needs one row above and one below its own; a group norm needs the mean and
variance of the whole map. So a map is read twice: once for these two numbers, once to
normalise, activate and convolve it tile by tile. It is the same sum in another order; nothing
is approximated. What lies between two stored maps exists for one tile at a time, which fits in
a processor's cache.

Maps       Rows -> Rows, and finally a stored map [1 c h w]
Paper      Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1
Tests      tests/acceleration/test_row_tiling.py
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.acceleration.layers import PackedConv
from labml_sd.acceleration.upsampling import PackedUpConv

TILE_BYTES = 8 * 2**20
REACH = 2  # rows that two convolutions read above the rows they make
EPS = 1e-6  # keeps the root of a variance of 0 finite; it is subtracted again


@dataclass(frozen=True, eq=False)
class Rows:
    """A map [1 c h w] whose rows are made on request: `make(first, end)` is [1 c end-first w].

    `row_numbers` is how many numbers one row takes at the widest point of its making.
    """

    make: Callable[[int, int], Tensor]
    channels: int
    height: int
    width: int
    row_numbers: int

    def tile(self, item_bytes: int) -> int:
        """Rows to make at a time: the most that divide the height and fit `TILE_BYTES`."""
        most = max(1, TILE_BYTES // (self.row_numbers * item_bytes))
        return max(n for n in range(1, min(most, self.height) + 1) if self.height % n == 0)


def rows_of(x: Float[Tensor, "1 c h w"]) -> Rows:
    """The rows of a stored map, as views."""
    _, c, h, w = x.shape
    return Rows(lambda first, end: x[:, :, first:end], c, h, w, c * w)


def repeated(rows: Rows) -> Rows:
    """Twice the size: every position four times."""

    def make(first: int, end: int) -> Tensor:
        some = rows.make(first // 2, (end + 1) // 2)
        some = F.interpolate(some, scale_factor=2.0, mode="nearest")
        return some[:, :, first % 2 :][:, :, : end - first]

    return Rows(make, rows.channels, 2 * rows.height, 2 * rows.width, 2 * rows.row_numbers)


def convolved(conv: PackedConv, rows: Rows) -> Rows:
    """A 3x3 convolution that keeps the size, with zeros around the map."""

    def make(first: int, end: int) -> Tensor:
        above, below = max(first - 1, 0), min(end + 1, rows.height)
        some = rows.make(above, below)
        edges = (above - (first - 1), end + 1 - below)  # 1 at the first or last row of the map
        some = F.pad(some, (0, 0, *edges)) if any(edges) else some
        return conv(some, padding=[0, 1])

    c = conv.out_channels
    return Rows(make, c, rows.height, rows.width, max(rows.row_numbers, c * rows.width))


def doubled(conv: PackedUpConv, rows: Rows, like: Tensor) -> Rows:
    """Every position repeated, then convolved; in one step if it pays for maps as `like`."""
    if not conv.pays(like):
        return convolved(conv.conv, repeated(rows))

    def make(first: int, end: int) -> Tensor:
        top, bottom = first // 2 - 1, (end + 1) // 2 + 1  # the rows read from the small map
        above, below = max(top, 0), min(bottom, rows.height)
        some = F.pad(rows.make(above, below), (0, 0, above - top, bottom - below))
        return conv.within(some)[:, :, first % 2 :][:, :, : end - first]

    c, w = conv.out_channels, 2 * rows.width
    return Rows(make, c, 2 * rows.height, w, max(2 * rows.row_numbers, c * w))


def halved(conv: PackedConv, rows: Rows) -> Rows:
    """The autoencoder's down-sampling: a zero at the right and at the bottom, then stride 2."""

    def make(first: int, end: int) -> Tensor:
        below = min(2 * end + 1, rows.height)
        return conv(F.pad(rows.make(2 * first, below), (0, 1, 0, 2 * end + 1 - below)))

    return Rows(
        make, conv.out_channels, rows.height // 2, rows.width // 2, 2 * rows.row_numbers
    )


Moments = tuple[Float[Tensor, " groups"], Float[Tensor, " groups"]]


def moments(x: Float[Tensor, "1 c h w"], n_groups: int) -> Moments:
    """Mean and variance of each group, in float32 or better."""
    _, c, h, w = x.shape
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).view(n_groups, c // n_groups, h, w)
    variance, mean = torch.var_mean(wide, dim=(1, 2, 3), correction=0)
    return mean, variance


def moments_on_cpu(x: Float[Tensor, "1 c h w"], n_groups: int) -> Moments:
    """The same, from the kernel of the group norm: on a CPU it takes a tenth of the time."""
    _, c, h, w = x.shape
    # float32 weights make it answer in float32 for maps in half precision too
    ones = x.new_ones(c, dtype=torch.promote_types(x.dtype, torch.float32))
    _, mean, rstd = torch.native_group_norm(x, ones, 0 * ones, 1, c, h * w, n_groups, EPS)
    return mean[0].double(), rstd[0].double() ** -2 - EPS


def joined(
    means: Float[Tensor, "tiles groups"], variances: Float[Tensor, "tiles groups"]
) -> Moments:
    r"""Mean and variance of a whole from those of equal parts.

    $$ \mu = \overline{\mu_i}, \qquad
       \sigma^2 = \overline{\sigma_i^2} + \overline{(\mu_i - \mu)^2} $$
    """
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def normed(norm: nn.GroupNorm, rows: Rows) -> Rows:
    """silu(norm(x)). Makes all rows once, now, for the moments of the groups."""
    wide = torch.promote_types(norm.weight.dtype, torch.float32)
    weight, bias = norm.weight.to(wide), norm.bias.to(wide)
    tile = rows.tile(norm.weight.element_size())
    moments_of = moments_on_cpu if weight.device.type == "cpu" else moments
    of_tiles = [
        moments_of(rows.make(first, first + tile), norm.num_groups)
        for first in range(0, rows.height, tile)
    ]
    of_all = joined(*(torch.stack(m) for m in zip(*of_tiles, strict=True)))
    mean, variance = (  # [c]: of the group of each channel
        v.to(wide).repeat_interleave(rows.channels // norm.num_groups) for v in of_all
    )

    def make(first: int, end: int) -> Tensor:
        # with the moments given, a group norm is a batch norm, channel by channel
        x = rows.make(first, end)
        x = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, norm.eps)
        return F.silu(x, inplace=True)

    return replace(rows, make=make)


def store(
    rows: Rows, like: Tensor, into: Float[Tensor, "1 c h w"] | None = None
) -> Float[Tensor, "1 c h w"]:
    """Make all rows, tile by tile, in a new map, or over the map that they are made from.

    A tile is written only when no later one reads it: two convolutions in a row begin `REACH`
    rows above.
    """
    if into is None:
        shape = (1, rows.channels, rows.height, rows.width)
        into = torch.empty(
            shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
        )
    tile = rows.tile(into.element_size())
    waiting: deque[tuple[int, Tensor]] = deque()

    def write(end: int) -> None:
        while waiting and waiting[0][0] + tile <= end:
            first, made = waiting.popleft()
            into[:, :, first : first + tile] = made

    for first in range(0, rows.height, tile):
        waiting.append((first, rows.make(first, first + tile)))
        write(first + tile - REACH)
    write(rows.height)
    return into
