import pytest
import torch

from labml_sd.acceleration.text_encoder import FastText, quick_gelu_
from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder import CLIPTextEmbedder
from labml_sd.text_encoder.clip_transformer import quick_gelu


@pytest.fixture(params=["quick_gelu", "gelu"])
def embedder(request, randomise):
    config = TextEncoderConfig(
        vocab_size=50,
        d_model=12,
        n_layers=2,
        n_heads=3,
        d_mlp=20,
        n_positions=9,
        activation=request.param,
    )
    return randomise(CLIPTextEmbedder(config, None).double())


@pytest.mark.parametrize("amplitude", [1, 0.01])
@pytest.mark.parametrize("shape", [(1, 9), (3, 5), (6, 9)])
def test_the_text_transformer_is_the_plain_one(embedder, assert_close, amplitude, shape):
    for parameter in embedder.parameters():
        parameter.mul_(amplitude)
    ids = torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(0))
    assert_close(FastText(embedder)(ids), embedder.transformer(ids), 1e-13)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-14), (torch.bfloat16, 2**-7)])
def test_the_activation_written_over_its_input_is_the_plain_one(
    randn, assert_close, dtype, share
):
    x = torch.cat([torch.tensor([0.0, 40.0, -40.0]), 3 * randn(500)]).to(dtype)
    wanted = quick_gelu(x.double())
    found = quick_gelu_(x)
    assert found is x
    assert_close(found.double(), wanted, share)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prompts_in_a_narrow_type_go_in_fours(embedder, monkeypatch, dtype):
    ready, sizes = FastText(embedder.to(dtype)), []
    some = ready._some
    monkeypatch.setattr(ready, "_some", lambda ids: sizes.append(len(ids)) or some(ids))
    ready(torch.zeros(6, 9, dtype=torch.long))
    assert sizes == ([4, 2] if dtype == torch.bfloat16 else [6])


def test_a_token_hears_nothing_of_those_behind_it(embedder):
    ids = torch.arange(9)[None]
    other = ids.clone()
    other[0, 5:] = 40
    heard, other_heard = (FastText(embedder)(i)[0] for i in (ids, other))
    torch.testing.assert_close(heard[:5], other_heard[:5], rtol=0, atol=1e-12)
    assert not torch.allclose(heard[5:], other_heard[5:])


def test_neither_weights_nor_the_embeddings_are_changed(embedder):
    embedder.float()
    before = [p.clone() for p in embedder.parameters()]
    FastText(embedder)(torch.arange(9)[None])
    assert all(torch.equal(*pair) for pair in zip(embedder.parameters(), before, strict=True))
