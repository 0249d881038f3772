import pytest
import torch

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder import CLIPTextEmbedder, tokenize


@pytest.fixture(scope="module")
def embedder(randomise, tokenizer):
    config = TextEncoderConfig(
        vocab_size=len(tokenizer),
        d_model=12,
        n_layers=2,
        n_heads=2,
        d_mlp=20,
        bos_id=tokenizer.bos_token_id,
        eos_id=tokenizer.eos_token_id,
    )
    return randomise(CLIPTextEmbedder(config, tokenizer).double())


def test_a_prompt_becomes_77_vectors(embedder):
    assert embedder("a red house").shape == (1, 77, 12)


def test_the_embedding_is_the_transformer_of_the_ids(embedder, tokenizer):
    prompts = ["a cat under the moon", "a blue boat"]
    marks = {"bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id}
    ids = tokenize(tokenizer, prompts, n_positions=77, **marks)
    assert torch.equal(embedder(prompts), embedder.transformer(ids))


def test_layer_selects_a_layer(embedder):
    assert torch.equal(embedder("a cat", layer=-1), embedder("a cat"))
    assert not torch.equal(embedder("a cat", layer=-2), embedder("a cat"))


def test_the_vectors_of_the_padding_depend_on_the_prompt(embedder):
    cat, boat = embedder("a cat"), embedder("a boat")
    assert (cat[0, -1] != boat[0, -1]).any()


def test_a_prompt_does_not_depend_on_the_others_of_its_batch(embedder):
    torch.testing.assert_close(
        embedder(["a boat", "a cat"])[1:], embedder("a cat"), rtol=1e-12, atol=1e-12
    )


def test_the_warning_about_a_cut_prompt_quotes_the_part_cut_off(embedder):
    with pytest.warns(UserWarning, match="cut off: 'moon moon'"):
        embedder("a " * 75 + "moon moon")


def test_all_weights_belong_to_the_transformer(embedder):
    assert all(key.startswith("transformer.") for key in embedder.state_dict())
