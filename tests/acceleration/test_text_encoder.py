import pytest
import torch

from labml_sd.acceleration import accelerate
from labml_sd.acceleration.text_encoder import PackedEncoderLayer, quick_gelu_
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


def packed(embedder):
    """The transformer with packed layers."""
    transformer = accelerate(embedder).transformer
    assert all(type(layer) is PackedEncoderLayer for layer in transformer.encoder.layers)
    return transformer


@pytest.mark.parametrize("amplitude", [1, 0.01])
@pytest.mark.parametrize("shape", [(1, 9), (3, 5), (6, 9)])
@pytest.mark.parametrize("layer", [-1, -2])
def test_the_text_transformer_is_the_plain_one(embedder, assert_close, amplitude, shape, layer):
    for parameter in embedder.parameters():
        parameter.mul_(amplitude)
    ids = torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(0))
    assert_close(packed(embedder)(ids, layer), embedder.transformer(ids, layer), 1e-13)


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
def test_prompts_in_half_precision_go_in_fours(embedder, monkeypatch, dtype):
    layer, sizes = packed(embedder.to(dtype)).encoder.layers[0], []
    some = layer._some
    monkeypatch.setattr(layer, "_some", lambda x: sizes.append(len(x)) or some(x))
    layer(torch.zeros(6, 9, 12, dtype=dtype))
    assert sizes == ([4, 2] if dtype == torch.bfloat16 else [6])


def test_an_activation_of_the_users_is_used(embedder, assert_close):
    for layer in embedder.transformer.encoder.layers:
        layer.mlp.activation = torch.tanh
    ids = torch.arange(9)[None]
    assert_close(packed(embedder)(ids), embedder.transformer(ids), 1e-13)


def test_a_token_does_not_depend_on_those_after_it(embedder):
    ids = torch.arange(9)[None]
    other = ids.clone()
    other[0, 5:] = 40
    found, with_others = (packed(embedder)(i)[0] for i in (ids, other))
    torch.testing.assert_close(found[:5], with_others[:5], rtol=0, atol=1e-12)
    assert not torch.allclose(found[5:], with_others[5:])


def test_neither_weights_nor_inputs_are_changed(embedder, randn):
    embedder.float()
    x = randn(2, 9, 12).float()
    given = [x, *embedder.parameters()]
    before = [value.clone() for value in given]
    packed(embedder)(torch.arange(9)[None])
    packed(embedder).encoder.layers[0](x)
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
