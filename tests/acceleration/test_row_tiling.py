import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labml_sd.acceleration import row_tiling
from labml_sd.acceleration.layers import PackedConv
from labml_sd.acceleration.row_tiling import (
    convolved,
    doubled,
    halved,
    joined,
    moments,
    moments_on_cpu,
    normed,
    repeated,
    rows_of,
    store,
)
from labml_sd.acceleration.upsampling import PackedUpConv

C, H, W = 4, 6, 5


@pytest.fixture
def x(randn):
    return 3 + randn(1, C, H, W).contiguous(memory_format=torch.channels_last)


@pytest.fixture
def conv(randomise):
    return randomise(nn.Conv2d(C, 3, 3, padding=1).double())


@pytest.fixture
def norm(randomise):
    return randomise(nn.GroupNorm(2, C, eps=1e-6).double())


def assert_rows_are_those_of(rows, whole):
    """For every choice of rows: some of them would show a seam."""
    assert (rows.channels, rows.height, rows.width) == whole.shape[1:]
    for first in range(rows.height):
        for end in range(first + 1, rows.height + 1):
            torch.testing.assert_close(
                rows.make(first, end), whole[:, :, first:end], rtol=1e-13, atol=1e-13
            )


def test_a_stored_map_gives_views_of_its_rows(x):
    assert_rows_are_those_of(rows_of(x), x)
    assert rows_of(x).make(1, 3).data_ptr() == x[:, :, 1:].data_ptr()


def test_twice_the_size_repeats_every_position(x):
    assert_rows_are_those_of(
        repeated(rows_of(x)), F.interpolate(x, scale_factor=2.0, mode="nearest")
    )


def test_a_convolution_has_no_seam_and_zeros_around_the_map(x, conv):
    assert_rows_are_those_of(convolved(PackedConv.of(conv), rows_of(x)), conv(x))


@pytest.mark.parametrize("at_once", [False, True])
def test_an_up_sampling_has_no_seam(x, conv, monkeypatch, at_once):
    monkeypatch.setattr(PackedUpConv, "pays", lambda self, like: at_once)
    whole = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    assert_rows_are_those_of(doubled(PackedUpConv(conv), rows_of(x), x), whole)


def test_a_down_sampling_has_no_seam_and_pads_right_and_below(randomise, randn):
    conv, x = randomise(nn.Conv2d(C, C, 3, stride=2).double()), randn(1, C, 8, 6)
    assert_rows_are_those_of(
        halved(PackedConv.of(conv), rows_of(x)), conv(F.pad(x, (0, 1, 0, 1)))
    )


@pytest.mark.parametrize("rows_a_tile", [1, 2, 3, 6])
def test_a_norm_is_that_of_the_whole_map_for_tiles_of_any_size(
    x, norm, monkeypatch, rows_a_tile
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", rows_a_tile * C * W * 8)
    assert rows_of(x).tile(8) == rows_a_tile
    assert_rows_are_those_of(normed(norm, rows_of(x)), F.silu(norm(x)))


@pytest.mark.parametrize("amplitude", [1e-4, 1])
@pytest.mark.parametrize("of", [moments, moments_on_cpu])
def test_the_moments_are_mean_and_variance_of_each_group(x, of, amplitude):
    groups = (amplitude * x).reshape(2, -1)
    mean, variance = of(amplitude * x, 2)
    torch.testing.assert_close(mean, groups.mean(1))
    torch.testing.assert_close(variance, groups.var(1, correction=0), rtol=1e-7, atol=0)


@pytest.mark.parametrize("of", [moments, moments_on_cpu])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_moments_of_a_map_in_half_precision_are_in_float32(x, of, dtype):
    narrow = x.to(dtype)
    groups = narrow.double().reshape(2, -1)
    mean, variance = of(narrow, 2)
    torch.testing.assert_close(mean.double(), groups.mean(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        variance.double(), groups.var(1, correction=0), rtol=1e-5, atol=0
    )


@pytest.mark.holds("labml_sd.acceleration.row_tiling.joined")
def test_moments_of_parts_join_to_those_of_the_whole(randn):
    parts = (
        randn(3, 2, 50) + torch.tensor([5.0, -3.0, 0.5])[:, None, None]
    )  # tiles, groups, numbers
    mean, variance = joined(parts.mean(2), parts.var(2, correction=0))
    whole = parts.transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, whole.mean(1))
    torch.testing.assert_close(variance, whole.var(1, correction=0))


@pytest.mark.parametrize("tile_bytes", [1, 2 * C * W * 8, 10**6])
def test_a_stored_map_has_every_row_in_channels_last_memory(x, conv, monkeypatch, tile_bytes):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    stored = store(convolved(PackedConv.of(conv), rows_of(x)), x)
    torch.testing.assert_close(stored, conv(x))
    assert stored.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("n_convs", [1, 2])
@pytest.mark.parametrize("rows_a_tile", [1, 2, 3, 6])
def test_a_map_may_be_written_over_the_one_it_is_made_from(
    x, randomise, monkeypatch, rows_a_tile, n_convs
):
    convs = [randomise(nn.Conv2d(C, C, 3, padding=1).double()) for _ in range(n_convs)]
    monkeypatch.setattr(row_tiling, "TILE_BYTES", rows_a_tile * C * W * 8)
    whole, rows = x, rows_of(x)
    for conv in convs:
        whole, rows = conv(whole), convolved(PackedConv.of(conv), rows)
    stored = store(rows, x, into=x)
    assert stored is x
    torch.testing.assert_close(stored, whole)


@pytest.mark.parametrize("height", [1, 7, 8, 48])
@pytest.mark.parametrize("tile_bytes", [1, 500, 4000, 10**9])
def test_tiles_divide_the_height_and_fit_unless_one_row_is_too_large(
    monkeypatch, height, tile_bytes
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    rows = rows_of(torch.empty(1, C, height, W))
    tile = rows.tile(4)
    assert height % tile == 0
    assert tile == 1 or tile * C * W * 4 <= tile_bytes


def test_the_widest_map_in_between_decides_how_many_rows_a_tile_has(x, conv, monkeypatch):
    wide = nn.Conv2d(C, 8 * C, 3, padding=1).double()
    monkeypatch.setattr(row_tiling, "TILE_BYTES", 6 * C * W * 8)
    assert rows_of(x).tile(8) == 6
    assert convolved(PackedConv.of(wide), rows_of(x)).tile(8) == 1
    for at_once in (False, True):
        monkeypatch.setattr(PackedUpConv, "pays", lambda self, like, at_once=at_once: at_once)
        assert doubled(PackedUpConv(conv), rows_of(x), x).tile(8) == 3
