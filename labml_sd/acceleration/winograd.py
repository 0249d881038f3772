r"""A 3x3 convolution with a quarter of the multiplications: Winograd's algorithm.

A convolution reads every number nine times, and multiplies each time. Neighbouring results can
share some of that work. Four results of a row with three weights take twelve products. They are
coefficients of a product of polynomials, and such a product is determined by its values at six
points, so six products are enough. For a tile of 4x4 results that is 36 products instead of
144. The values of the weights at the points are computed once, those of the map are a few sums,
and each point is one matrix product over all tiles and channels:

$$ Y = A^T \big[ (G\, g\, G^T) \odot (B^T d\, B) \big] A $$

with a tile of the map $d$ [6 6], the weights $g$ [3 3] and the results $Y$ [4 4]. The choice of
points decides how much is lost to rounding. The points of the paper, 0, 1, -1, 2, -2 and
infinity, lose three times as much as a direct sum; with 5/8 and 3/2 in place of 1 and 2 the
loss is no larger than that of a direct sum. In half precision it would be too large even so.

The layers of the U-Net at 32x32 and 64x64 cells, and those of the autoencoder, take a third to
three quarters of the time of the direct algorithm. With few channels, moving numbers costs more
than is saved.

Maps       x [b c h w]  ->  [b c2 h2 w2]
Paper      Lavin and Gray 2015, arXiv:1509.09308, eq. 8
           Barabasz et al. 2018, arXiv:1803.10986, on the choice of points
Tests      tests/acceleration/test_winograd.py
"""

from collections.abc import Sequence
from itertools import product
from math import ceil, prod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labml_sd.acceleration.onednn import packed_matrix, product_with

POINTS = {2: (1.0,), 4: (5 / 8, 3 / 2)}
"""Side of a tile -> points p, exact in float32. -p comes with each; 0 and infinity with all."""

# Tiles of 4 take four times the memory of the weights, those of 2 less than twice.
MOST_WEIGHTS = 9 * 1280 * 640
BLOCK_BYTES = 24 * 2**20  # values of some tiles at all points; should stay in the cache
FEWEST_RESULTS, FEWEST_CHANNELS = 256, 96  # below, the direct algorithm is as fast
FEWEST_WITH_AVX512 = 192  # channels; it makes the direct algorithm faster
Terms = Sequence[tuple[float, Tensor]]


def weights_at_points(tile: int) -> Float[Tensor, "points 3"]:
    r"""$G$, in float64: the factor of each of three weights at each point.

    $$ G_{pk} = \frac{p^k}{\prod_{q \ne p} (p - q)}, \qquad G_\infty = (0, 0, 1) $$
    """
    points = [0.0, *(sign * p for p in POINTS[tile] for sign in (1, -1))]
    rows = [[p**k / prod(p - q for q in points if q != p) for k in range(3)] for p in points]
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64, device="cpu")


def polynomial(roots: Sequence[float]) -> list[float]:
    """Coefficients of the product of `x^2 - p^2` over the roots, highest power of x^2 first."""
    found = [1.0]
    for p in roots:
        found = [a - p * p * b for a, b in zip([*found, 0.0], [0.0, *found], strict=True)]
    return found


def add_up(terms: Terms, out: Tensor | None = None) -> Tensor:
    """The sum of factor times map, over the terms."""
    (factor, total), *others = terms
    if factor == 1 and others:
        (factor, second), *others = others
        total = torch.add(total, second, alpha=factor, out=out)
    elif factor != 1:
        total = torch.mul(total, factor, out=out)
    for factor, term in others:
        total.add_(term, alpha=factor)
    return total


def to_points(tile: int, d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """$B^T d$ along one side; a point and its negative share the even and the odd powers."""
    pairs = POINTS[tile]
    every = polynomial(pairs)
    add_up(list(zip(every, d[-2::-2], strict=True)), out[0])
    add_up(list(zip(every, d[:0:-2], strict=True)), out[-1])
    for i, p in enumerate(pairs):
        others = polynomial([q for q in pairs if q != p])
        even = add_up(list(zip(others, d[-2:0:-2], strict=True)))
        odd = add_up(list(zip(others, d[-3::-2], strict=True)))
        torch.add(even, odd, alpha=p, out=out[2 * i + 1])
        torch.sub(even, odd, alpha=p, out=out[2 * i + 2])


def from_points(tile: int, values: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    r"""$A^T$ along one side: $y_k = \sum_p p^k m_p$; infinity counts in the last only."""
    pairs = list(zip(values[1:-1:2], values[2:-1:2], strict=True))
    both = [a + b for a, b in pairs], [a - b for a, b in pairs]
    for k, y in enumerate(out):
        edge = [(1.0, values[0])] if k == 0 else [(1.0, values[-1])] if k == tile - 1 else []
        add_up(
            [*edge, *((p**k, part) for p, part in zip(POINTS[tile], both[k % 2], strict=True))],
            y,
        )


def tile_of(weight: Float[Tensor, "c2 c 3 3"]) -> int:
    """The side of the tiles for a layer of this width."""
    return 4 if weight.numel() <= MOST_WEIGHTS else 2


def pays(
    weight: Float[Tensor, "c2 c kh kw"], stride: Sequence[int], x: Float[Tensor, "b c h w"]
) -> bool:
    """Whether this algorithm can do a convolution (no dilation, no groups), and is faster."""
    exact = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not exact or tuple(weight.shape[2:]) != (3, 3) or tuple(stride) != (1, 1):
        return False
    tile = tile_of(weight)
    in_whole_tiles = len(x) * prod(side - side % tile for side in x.shape[2:])
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    fewest = FEWEST_WITH_AVX512 if has_avx512 else FEWEST_CHANNELS
    return in_whole_tiles >= FEWEST_RESULTS and min(weight.shape[:2]) >= fewest


class Winograd:
    """A 3x3 convolution with stride 1. x is in channels-last memory, and so is the result."""

    def __init__(self, weight: Float[Tensor, "c2 c 3 3"]) -> None:
        self.tile, (self.c2, c) = tile_of(weight), weight.shape[:2]
        points = weights_at_points(self.tile)
        both_sides = torch.kron(points, points).to(weight)  # [points*points 9]
        nine = weight.detach().flatten(2).flatten(0, 1)  # [c2*c 9]
        column = max(self.c2, c) * weight.element_size()
        self.n_tiles = BLOCK_BYTES // (len(both_sides) * column)  # in a block
        # A matrix [c2 c] for each point, packed. Together they take four times the memory of
        # the weights, so those of some points at a time are computed, in the same place.
        self.matrices: list[Tensor] = []
        some = nine.new_empty(len(points), self.c2, c)
        for rows in torch.split(both_sides, len(points)):
            torch.mm(rows, nine.t(), out=some.view(len(points), -1))
            self.matrices += [packed_matrix(matrix, self.n_tiles) for matrix in some]

    def __call__(
        self,
        x: Float[Tensor, "b c h w"],
        bias: Float[Tensor, " c2"] | None,
        padding: Sequence[int],
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolve some tiles at a time. `padding`: zeros above and below, and at the sides."""
        b, c2 = len(x), self.c2
        h, w = (side + 2 * pad - 2 for side, pad in zip(x.shape[2:], padding, strict=True))
        high, wide = ceil(h / self.tile), ceil(w / self.tile)
        y = torch.empty(b, high, self.tile, wide, self.tile, c2, dtype=x.dtype, device=x.device)
        images, rows = max(1, self.n_tiles // (high * wide)), max(1, self.n_tiles // wide)
        for i, top in product(range(0, b, images), range(0, high, rows)):
            some = y[i : i + images, top : top + rows]
            self._some(self._padded(x[i : i + images], top, some.shape[1], wide, padding), some)
            if bias is not None:
                some.add_(bias.detach())
        y = y.view(b, high * self.tile, wide * self.tile, c2)[:, :h, :w]
        return y.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _padded(
        self,
        x: Float[Tensor, "b c h w"],
        top: int,
        rows: int,
        wide: int,
        padding: Sequence[int],
    ) -> Float[Tensor, "b h2 w2 c"]:
        """What some rows of tiles read, with zeros outside the map."""
        first = self.tile * top - padding[0]
        sides = self.tile * wide + 2 - x.shape[3] - padding[1]
        end = first + self.tile * rows + 2
        above, below = max(-first, 0), max(end - x.shape[2], 0)
        some = x[:, :, first + above : end - below]
        return F.pad(some, (padding[1], sides, above, below)).permute(0, 2, 3, 1)

    def _some(
        self, x: Float[Tensor, "b h2 w2 c"], y: Float[Tensor, "b high tile wide tile c2"]
    ) -> None:
        """Fill some rows of tiles: transform to points, multiply at each, transform back."""
        tile, points = self.tile, self.tile + 2
        b, high, _, wide, _, c2 = y.shape
        c = x.shape[-1]
        rows = x.new_empty(points, b, high, *x.shape[2:])
        to_points(tile, [x[:, j::tile][:, :high] for j in range(points)], rows.unbind())
        at = x.new_empty(points, points, b, high, wide, c)
        to_points(
            tile, [rows[..., j::tile, :][..., :wide, :] for j in range(points)], at.unbind(1)
        )
        values = [
            product_with(matrix, some).view(b, high, wide, c2)
            for matrix, some in zip(self.matrices, at.view(points**2, -1, c), strict=True)
        ]
        halfway = x.new_empty(tile, points, b, high, wide, c2)
        for j in range(points):
            from_points(tile, values[j::points], halfway[:, j].unbind())
        from_points(tile, halfway.unbind(1), y.permute(4, 2, 0, 1, 3, 5).unbind())
