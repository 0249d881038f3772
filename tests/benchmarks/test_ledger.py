import ledger
import pytest

from labml_sd.config import tiny

SPLIT = {  # GMAC of the U-Net at 512, to the digits that are published with it
    "conv3x3": 200.2,
    "feed-forward": 76.8,
    "self-attention products": 61.25,
    "self-attention q k v, cross q": 25.6,
    "conv1x1": 21.8,
    "attention out": 12.8,
    "cross-attention products": 1.8,
    "cross-attention k v": 1.48,
    "time": 0.03,
}


def gmac(flops: int, digits: int) -> float:
    return round(flops / 2e9, digits)


@pytest.fixture(scope="module")
def unet_at_512():
    return ledger.unet(512)


def test_the_unet_at_512_has_its_known_operations_and_parameters(unet_at_512):
    assert gmac(unet_at_512.total, 1) == 401.6
    assert unet_at_512.parameters == 859_520_964


@pytest.mark.parametrize("kind", SPLIT)
def test_the_operations_of_the_unet_split_as_known(unet_at_512, kind):
    digits = len(str(SPLIT[kind]).partition(".")[2])
    assert gmac(unet_at_512.flops[kind], digits) == SPLIT[kind]


def test_every_operation_of_the_unet_has_a_kind(unet_at_512):
    assert set(unet_at_512.flops) == set(SPLIT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "tflop"), [(256, 0.36), (512, 1.61), (768, 4.30), (1024, 9.35), (2048, 84.4)]
)
def test_a_guided_step_grows_with_the_size_as_known(size, tflop):
    account = ledger.unet(size, 2)
    assert round(account.total / 1e12, 1 if size == 2048 else 2) == tflop


def test_a_batch_costs_as_much_as_its_samples():
    assert ledger.unet(256, 8).total == 8 * ledger.unet(256).total


@pytest.mark.slow
@pytest.mark.parametrize("config", [None, tiny()], ids=["v1", "tiny"])
def test_both_kinds_of_attention_have_the_same_products(config):
    flash, normal = (
        ledger.unet(128, config=config, attention=kind) for kind in ("flash", "normal")
    )
    assert flash.flops == normal.flops


def test_the_unet_for_inpainting_has_five_more_channels_in():
    assert ledger.unet(64, config=ledger.inpainting()).parameters == 859_520_964 + 5 * 320 * 9


@pytest.mark.parametrize(("size", "known"), [(512, 1257), (768, 2877), (1024, 5235)])
def test_decoding_has_its_known_operations(size, known):
    assert gmac(ledger.decode(size).total, 0) == known


def test_encoding_has_its_known_operations():
    assert gmac(ledger.encode(512).total, 0) == 558


def test_the_autoencoder_has_its_known_parameters():
    assert ledger.decode(64).parameters == ledger.encode(64).parameters == 83_653_863


def test_the_text_encoder_has_its_known_operations_and_parameters():
    account = ledger.text()
    assert gmac(account.total, 2) == 6.65
    assert account.parameters == 123_060_480
