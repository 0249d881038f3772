import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder import CLIPTextTransformer, TokenVectors
from labml_sd.text_encoder.clip_transformer import MLP, CausalSelfAttention, quick_gelu

SMALL = TextEncoderConfig(
    vocab_size=20,
    n_positions=8,
    d_model=12,
    n_layers=3,
    n_heads=2,
    d_mlp=20,
    bos_id=18,
    eos_id=19,
)
IDS = torch.tensor([[18, 3, 4, 5, 19, 19, 19, 19], [18, 7, 19, 19, 19, 19, 19, 19]])


@pytest.fixture(scope="module")
def transformer(randomise):
    return randomise(CLIPTextTransformer(SMALL).double())


def test_at_v1_size_there_are_196_tensors_and_123_060_480_numbers():
    with torch.device("meta"):
        state = CLIPTextTransformer(TextEncoderConfig()).state_dict()
    assert (len(state), sum(v.numel() for v in state.values())) == (196, 123_060_480)


def test_quick_gelu_is_x_times_the_sigmoid_of_1_702_x():
    x = torch.linspace(-4, 4, 9, dtype=torch.float64)
    expected = [v / (1 + math.exp(-1.702 * v)) for v in x.tolist()]
    assert quick_gelu(x).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name, function", [("quick_gelu", quick_gelu), ("gelu", F.gelu)])
def test_the_activation_is_the_one_of_the_configuration(randomise, name, function):
    mlp = randomise(MLP(4, 6, name).double())
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(1, 2, 4)
    assert torch.equal(mlp(x), mlp.fc2(function(mlp.fc1(x))))


def test_layer_norms_use_the_eps_of_the_configuration():
    eps = {m.eps for m in CLIPTextTransformer(SMALL).modules() if isinstance(m, nn.LayerNorm)}
    assert eps == {1e-5}
    other = CLIPTextTransformer(replace(SMALL, norm_eps=1e-3))
    assert {m.eps for m in other.modules() if isinstance(m, nn.LayerNorm)} == {1e-3}


def test_the_input_is_token_embedding_plus_position_embedding(transformer):
    tokens = transformer.embeddings.token_embedding.weight
    positions = transformer.embeddings.position_embedding.weight
    embedded = transformer.hidden_states(IDS)[0]
    assert torch.equal(embedded[1, 2], tokens[19] + positions[2])


def test_a_vector_takes_the_place_of_a_token(transformer):
    tokens = transformer.embeddings.token_embedding.weight
    at = torch.tensor([0, 1]), torch.tensor([2, 1])
    theirs = TokenVectors(*at, vector=tokens[[7, 3]])
    same = torch.tensor([[18, 3, 7, 5, 19, 19, 19, 19], [18, 3, 19, 19, 19, 19, 19, 19]])
    assert torch.equal(transformer(IDS, vectors=theirs), transformer(same))
    assert torch.equal(transformer.embeddings.token_embedding.weight, tokens)


def test_attention_is_a_weighted_mean_of_the_values_up_to_the_query(randomise):
    attention = randomise(CausalSelfAttention(4, 1).double())
    x = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    rows = [((q[:, n] @ k[0, : n + 1].T) / 2).softmax(-1) @ v[0, : n + 1] for n in range(3)]
    torch.testing.assert_close(attention(x)[0], attention.out_proj(torch.cat(rows)))


def test_a_later_token_leaves_earlier_vectors_bit_equal(transformer):
    changed = IDS.clone()
    changed[0, 3] = 9
    before, after = transformer(IDS)[0], transformer(changed)[0]
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).all()


def test_each_layer_adds_attention_then_the_mlp_to_its_input(transformer):
    states = transformer.hidden_states(IDS)
    for layer, here, there in zip(transformer.encoder.layers, states, states[1:], strict=False):
        x = here + layer.self_attn(layer.layer_norm1(here))
        assert torch.equal(x + layer.mlp(layer.layer_norm2(x)), there)


def test_there_are_n_layers_plus_one_hidden_states(transformer):
    assert len(transformer.hidden_states(IDS)) == SMALL.n_layers + 1


@pytest.mark.parametrize("layer", [-1, -2, 0, 3])
def test_the_output_is_the_normalised_state_of_the_given_layer(transformer, layer):
    expected = transformer.final_layer_norm(transformer.hidden_states(IDS)[layer])
    assert torch.equal(transformer(IDS, layer), expected)


def test_the_last_layer_is_the_default(transformer):
    assert torch.equal(transformer(IDS), transformer(IDS, SMALL.n_layers))


@pytest.mark.parametrize("layer", [-5, 4])
def test_a_layer_that_does_not_exist_is_an_index_error(transformer, layer):
    with pytest.raises(IndexError):
        transformer(IDS, layer)


def test_the_pooled_vector_is_the_one_at_the_first_end_marker(transformer):
    output = transformer(IDS)
    assert torch.equal(transformer.pooled(IDS), torch.stack([output[0, 4], output[1, 2]]))


def test_the_pooled_vector_does_not_depend_on_the_padding(transformer):
    torch.testing.assert_close(transformer.pooled(IDS[:, :5]), transformer.pooled(IDS))


def test_fewer_tokens_than_positions_are_accepted(transformer):
    torch.testing.assert_close(transformer(IDS[:, :4]), transformer(IDS)[:, :4])
