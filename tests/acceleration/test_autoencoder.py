import weakref
from functools import cache

import pytest
import torch
from marks import slow
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labml_sd.acceleration import accelerate, row_tiling
from labml_sd.acceleration import autoencoder as tiled_autoencoder
from labml_sd.acceleration.autoencoder import TiledDecoder, TiledEncoder, pays
from labml_sd.autoencoder import Autoencoder, GaussianPosterior
from labml_sd.config import AutoencoderConfig

CONFIGS = {
    "as SD": AutoencoderConfig(channels=8, norm_groups=4),
    "widths that go up and down": AutoencoderConfig(
        channels=8, channel_multipliers=(2, 1, 3), n_res_blocks=1, norm_groups=2
    ),
    "one level": AutoencoderConfig(channels=8, channel_multipliers=(1,), norm_groups=4),
}
TILES = [
    1,
    2_000,
    8_000,
    2**23,
]  # bytes: a row at a time, tiles of several heights, all at once
LATENTS = [(2, 3), (3, 1)]


@pytest.fixture(scope="module")
def build(randomise):
    @cache
    def of(name, dtype=torch.float64):
        return randomise(Autoencoder(CONFIGS[name]).to(dtype))

    return of


def plain_decode(autoencoder, z):
    return autoencoder.decoder(autoencoder.post_quant_conv(z))


def tiled_decode(autoencoder, z, lean=None):
    decoder = TiledDecoder(autoencoder.decoder)
    return decoder.forward(autoencoder.post_quant_conv(z), lean=lean)


def tiled_posterior(autoencoder, image):
    moments = TiledEncoder(autoencoder.encoder).forward(image)
    return GaussianPosterior(autoencoder.quant_conv(moments))


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("tile_bytes", TILES)
@pytest.mark.parametrize("name", CONFIGS)
def test_decoding_is_the_plain_one_in_float64(
    build, randn, assert_close, monkeypatch, name, tile_bytes, lean
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    autoencoder = build(name)
    for size in LATENTS:
        z = randn(2, 4, *size)
        found = tiled_decode(autoencoder, z, lean)
        assert_close(found, plain_decode(autoencoder, z), 1e-12)


@pytest.mark.parametrize("tile_bytes", TILES)
@pytest.mark.parametrize("name", CONFIGS)
def test_encoding_is_the_plain_one_in_float64(
    build, randn, assert_close, monkeypatch, name, tile_bytes
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    autoencoder = build(name)
    for size in LATENTS:
        factor = autoencoder.config.downsampling_factor
        image = randn(2, 3, factor * size[0], factor * size[1])
        found, wanted = tiled_posterior(autoencoder, image), autoencoder.posterior(image)
        assert_close(found.mean, wanted.mean, 1e-12)
        assert_close(found.log_var, wanted.log_var, 1e-12)


@pytest.mark.parametrize("lean", [True, False])
def test_both_are_the_plain_ones_where_numbers_are_small(randomise, randn, assert_close, lean):
    autoencoder = randomise(Autoencoder(CONFIGS["as SD"]).double())
    for conv in (
        autoencoder.encoder.conv_in,
        autoencoder.decoder.conv_in,
        autoencoder.post_quant_conv,
    ):
        conv.bias.zero_()
    z, image = 0.01 * randn(1, 4, 4, 4), 0.01 * randn(1, 3, 32, 32)
    assert_close(tiled_decode(autoencoder, z, lean), plain_decode(autoencoder, z), 1e-12)
    assert_close(
        tiled_posterior(autoencoder, image).mean, autoencoder.posterior(image).mean, 1e-12
    )


@pytest.mark.parametrize("tile_bytes", TILES)
@pytest.mark.parametrize("lean", [True, False])
def test_in_float32_both_are_the_plain_ones_to_1e_minus_5(
    build, randn, assert_close, monkeypatch, tile_bytes, lean
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    autoencoder = build("as SD", torch.float32)
    z, image = randn(2, 4, 4, 6).float(), randn(2, 3, 32, 48).float()
    assert_close(tiled_decode(autoencoder, z, lean), plain_decode(autoencoder, z), 1e-5)
    assert_close(
        tiled_posterior(autoencoder, image).mean, autoencoder.posterior(image).mean, 1e-5
    )


@pytest.mark.usefixtures("everything_in_tiles")
@pytest.mark.parametrize("dtype, share", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("tile_bytes", [2_000, *slow(1, 8_000, 2**23)])
def test_both_are_the_plain_ones_with_every_convolution_by_winograd(
    build, randn, assert_close, monkeypatch, dtype, share, tile_bytes
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    autoencoder = build("as SD", dtype)
    z, image = randn(1, 4, 4, 6).to(dtype), randn(1, 3, 32, 48).to(dtype)
    assert_close(tiled_decode(autoencoder, z), plain_decode(autoencoder, z), share)
    assert_close(
        tiled_posterior(autoencoder, image).mean, autoencoder.posterior(image).mean, share
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tile_bytes", [2_000, 2**23])
def test_in_half_precision_both_are_as_near_the_truth_as_the_plain_ones(
    build, randn, monkeypatch, dtype, tile_bytes
):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", tile_bytes)
    autoencoder = build("as SD", dtype)
    z, image = randn(6, 4, 2, 3).to(dtype), randn(6, 3, 16, 24).to(dtype)
    wide = Autoencoder(autoencoder.config).double().requires_grad_(False)
    wide.load_state_dict(autoencoder.state_dict())
    for fast, usual, truth in (
        (
            tiled_decode(autoencoder, z),
            plain_decode(autoencoder, z),
            plain_decode(wide, z.double()),
        ),
        (
            tiled_posterior(autoencoder, image).mean,
            autoencoder.posterior(image).mean,
            wide.posterior(image.double()).mean,
        ),
    ):
        errors = [float((v.double() - truth).square().mean().sqrt()) for v in (fast, usual)]
        assert errors[0] <= 1.25 * errors[1]


def test_nothing_that_is_given_is_changed(build, randn):
    autoencoder = build("as SD")
    z, image = (
        v.contiguous(memory_format=torch.channels_last)
        for v in (randn(1, 4, 4, 4), randn(1, 3, 32, 32))
    )
    tensors = [z, image, *autoencoder.parameters()]
    before = [v.clone() for v in tensors]
    for lean in (True, False):
        TiledDecoder(autoencoder.decoder).forward(z, lean=lean)
    TiledEncoder(autoencoder.encoder).forward(image)
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


@pytest.mark.parametrize("pixels, lean", [(32 * 32 - 1, True), (32 * 32, False)])
def test_large_pictures_are_decoded_lean_unless_told_otherwise(
    build, randn, monkeypatch, pixels, lean
):
    monkeypatch.setattr(tiled_autoencoder, "LEAN_PIXELS", pixels)
    decode, seen = TiledDecoder(build("as SD").decoder), []
    monkeypatch.setattr(decode, "_decode", lambda z, lean: seen.append(lean) or z)
    decode(randn(2, 4, 4, 4))
    decode(randn(1, 4, 4, 4), lean=not lean)
    assert seen == [lean, lean, not lean]


@pytest.mark.parametrize(
    "device, pixels, expected",
    [
        ("cpu", 1, True),
        ("cuda", 512 * 512, False),
        ("cuda", 1024 * 1024, True),
        ("mps", 1024 * 1024, False),
    ],
)
def test_tiles_pay_on_a_cpu_and_for_large_pictures_on_cuda(device, pixels, expected):
    assert pays(torch.device(device), pixels) is expected


@pytest.mark.parametrize("tiled", [True, False])
def test_an_accelerated_autoencoder_tiles_where_it_pays(build, randn, monkeypatch, tiled):
    plain, asked, ran = build("as SD"), [], []
    monkeypatch.setattr(
        tiled_autoencoder, "pays", lambda device, pixels: asked.append(pixels) or tiled
    )
    for kind in (TiledDecoder, TiledEncoder):
        forward = kind.forward
        monkeypatch.setattr(
            kind, "forward", lambda self, x, f=forward: ran.append(type(self)) or f(self, x)
        )
    fast, z, image = accelerate(plain), randn(1, 4, 2, 3), randn(1, 3, 16, 24)
    torch.testing.assert_close(fast.decode(z), plain.decode(z))
    torch.testing.assert_close(fast.encode(image), plain.encode(image))
    assert asked == [16 * 24] * 2
    assert ran == ([TiledDecoder, TiledEncoder] if tiled else [])


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the live tensors that are made inside, and keeps the largest sum."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return out

    def count(self, storage):
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.forget, key, storage.nbytes())

    def forget(self, key, n_bytes):
        self.known.discard(key)
        self.live -= n_bytes


def peak(call):
    call()  # weights are packed
    with LiveBytes() as memory:
        call()
    return memory.peak


def test_live_bytes_are_those_of_tensors_that_somebody_holds():
    with LiveBytes() as memory:
        x = torch.zeros(1000)
        for _ in range(3):
            x = (x.view(10, 100) + 1).view(1000)
        assert memory.live == 4000
    assert memory.peak == 8000


@pytest.mark.slow
def test_a_picture_of_twice_the_side_decoded_lean_takes_little_more_memory(
    build, randn, monkeypatch
):
    autoencoder = build("as SD")
    small, large = randn(1, 4, 8, 8), randn(1, 4, 16, 16)
    # As large beside the largest map as it is in SD at 1024 pixels, in float32: 1/64.
    monkeypatch.setattr(row_tiling, "TILE_BYTES", 8 * 128 * 128 * 8 // 64)
    decoder = TiledDecoder(autoencoder.decoder)

    def decode(z, lean):
        return decoder.forward(autoencoder.post_quant_conv(z), lean=lean)

    plain = peak(lambda: plain_decode(autoencoder, small))
    assert peak(lambda: decode(large, lean=True)) <= 1.2 * plain
    assert peak(lambda: decode(small, lean=False)) <= 0.6 * plain
    assert peak(lambda: decode(small, lean=True)) <= 0.4 * plain


def test_the_pictures_of_a_batch_are_decoded_one_by_one(build, randn, monkeypatch):
    monkeypatch.setattr(row_tiling, "TILE_BYTES", 2**14)
    decode = TiledDecoder(build("as SD").decoder).forward
    one, four = (peak(lambda n=n: decode(randn(n, 4, 4, 4), lean=True)) for n in (1, 4))
    image_bytes = 3 * 32 * 32 * 8
    assert four <= one + 2 * 4 * image_bytes
