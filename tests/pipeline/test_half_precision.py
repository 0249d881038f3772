"""An autoencoder whose numbers exceed float16 gives the picture of float32, with a warning."""

import copy

import numpy as np
import pytest
import torch

from labml_sd.cli import main as cli
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import to_pil, to_tensor
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.binding import network_for
from labml_sd.pipeline.latents import decode, encode

QUICK = {"steps": 2, "progress": False}


@pytest.fixture
def loud(make_model):
    """A float16 model whose autoencoder starts with numbers of some 100,000."""
    model = make_model()
    for convolution in (model.autoencoder.decoder.conv_in, model.autoencoder.encoder.conv_in):
        convolution.weight.mul_(50_000 / convolution.weight.abs().max())
    return model.to(torch.float16)


def test_a_text_becomes_the_picture_of_float32(loud):
    seen = []
    with pytest.warns(
        UserWarning, match="decode left the range of float16: done again in float32"
    ):
        (image,) = txt2img(loud, "a house", on_step=seen.append, **QUICK)
    decoded = copy.deepcopy(loud.autoencoder).float().decode(seen[-1].x)
    assert image.tobytes() == to_pil(decoded)[0].tobytes() and np.asarray(image).std() > 5


def test_a_picture_is_read_and_drawn_in_float32(loud, photo):
    with pytest.warns(UserWarning, match="left the range") as told:
        (image,) = img2img(loud, "a house", photo(32, 32), strength=0, **QUICK)
    exact = copy.deepcopy(loud.autoencoder).float()
    assert (
        image.tobytes()
        == to_pil(exact.decode(exact.encode(to_tensor(photo(32, 32)))))[0].tobytes()
    )
    assert [str(w.message).split()[0] for w in told] == ["encode", "decode"]


def test_a_repaired_picture_is_not_black_where_it_is_painted(loud, photo):
    with pytest.warns(UserWarning, match="left the range"):
        (image,) = inpaint(
            loud, "a house", photo(32, 32), photo(32, 32).point(lambda _: 255), **QUICK
        )
    assert np.asarray(image).std() > 5


def test_the_model_stays_as_it_was(loud):
    before = copy.deepcopy(loud.state_dict())
    with pytest.warns(UserWarning, match="left the range"):
        txt2img(loud, "a house", **QUICK)
    after = loud.state_dict()
    assert all(
        torch.equal(after[key], before[key]) and after[key].dtype == torch.float16
        for key in before
    )


def test_the_shell_draws_it_with_one_line_of_warning(
    loud, monkeypatch, capsys, tmp_path, recwarn
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("labml_sd.cli.draw.load_model", lambda *_, **__: loud)
    code = cli.main(["txt2img", "a house", "--steps", "2", "--seed", "1", "--dtype", "float16"])
    out, err = capsys.readouterr()
    assert (code, err.count("\n")) == (0, 1) and err.startswith(
        "labml-sd: warning: decode left the range"
    )
    assert np.asarray(read_picture(out.strip())).std() > 5


# The stages alone


@pytest.fixture
def overflowing(make_model):
    """A float16 model whose decoder and encoder exceed 65504, the largest float16."""
    model = make_model().half()
    for conv in (model.autoencoder.decoder.conv_in, model.autoencoder.encoder.conv_in):
        conv.weight.mul_(60_000)
    return model


@pytest.fixture
def z():
    return 3 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fast", [True, False])
def test_a_decoder_that_leaves_the_range_of_float16_is_run_in_float32_with_a_warning(
    overflowing, z, fast
):
    overflowing.fast = fast
    with pytest.warns(
        UserWarning, match="decode left the range of float16: done again in float32"
    ):
        images = decode(overflowing, network_for(overflowing), z, 32, 32)
    wide = copy.deepcopy(overflowing).float()
    assert [i.tobytes() for i in images] == [
        i.tobytes() for i in decode(wide, network_for(wide), z, 32, 32)
    ]
    assert {p.dtype for p in overflowing.autoencoder.parameters()} == {torch.float16}


@pytest.mark.parametrize("fast", [True, False])
def test_an_encoder_that_leaves_the_range_of_float16_is_run_in_float32_with_a_warning(
    overflowing, photo, fast
):
    overflowing.fast = fast
    with pytest.warns(UserWarning, match="encode left the range of float16"):
        z = encode(overflowing, network_for(overflowing), photo(32, 32), 1)
    wide = copy.deepcopy(overflowing).float()
    assert torch.equal(z, encode(wide, network_for(wide), photo(32, 32), 1))


@pytest.mark.parametrize("fast", [True, False])
def test_a_float16_model_that_stays_in_range_draws_without_a_warning(make_model, z, fast):
    model = make_model().half()
    model.fast = fast
    assert len(decode(model, network_for(model), z, 32, 32)) == 2
