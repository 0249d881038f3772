import pytest
import torch

from labml_sd.adapters import Embedding
from labml_sd.adapters.textual_inversion import by_name, initial_vectors
from labml_sd.errors import PromptError
from labml_sd.text_encoder import CLIPTextEmbedder, chunks_of


def embedding(name="<toy>", n=2, width=16, stem=""):
    return Embedding(name, torch.arange(n * width).reshape(n, width).float(), stem)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_name_that_no_prompt_can_have_is_refused(name):
    with pytest.raises(PromptError, match="cannot be the name of an embedding"):
        embedding(name)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3), (0, 4), (4, 0), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(PromptError, match="a row a vector"):
        Embedding("a", torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_vectors_that_are_no_numbers_are_refused(value):
    with pytest.raises(PromptError, match="holds NaN, Inf"):
        Embedding("a", torch.tensor([[1.0, value]]))


def test_width_and_names():
    assert embedding(width=16).width == 16
    assert embedding().names == ("<toy>",)
    assert embedding(stem="cat-toy").names == ("<toy>", "embedding:cat-toy")
    assert embedding("cat-toy", stem="cat-toy").names == ("cat-toy",)


def test_embeddings_are_found_by_every_name():
    first, second = embedding(stem="a"), embedding("<two>")
    found = by_name([first, second], 16)
    assert found == {"<toy>": first, "embedding:a": first, "<two>": second}


def test_another_width_is_refused_and_both_families_are_named():
    with pytest.raises(PromptError) as caught:
        by_name([embedding(width=1024)], 768, "Stable Diffusion 1")
    text = str(caught.value)
    assert "width 1024 (Stable Diffusion 2); Stable Diffusion 1 has 768" in text
    with pytest.raises(PromptError, match=r"width 1280 .*XL"):
        by_name([embedding(width=1280)], 768)
    with pytest.raises(PromptError, match="width 7; this model has 768"):
        by_name([embedding(width=7)], 768)


def test_two_of_one_name_are_refused_whatever_the_case():
    with pytest.raises(PromptError, match="two embeddings are called '<TOY>'"):
        by_name([embedding(), embedding("<TOY>")], 16)


def test_training_starts_from_copies_of_a_word(model):
    encoder = model.text_encoder
    (word,) = encoder.tokenizer("r", add_special_tokens=False)["input_ids"]
    table = encoder.transformer.embeddings.token_embedding.weight
    start = initial_vectors(encoder, "r", 3)
    assert torch.equal(start, table[word].expand(3, -1))
    start.zero_()
    assert table[word].abs().sum() > 0  # a copy


def test_n_words_may_start_n_vectors(model):
    encoder = model.text_encoder
    start = initial_vectors(encoder, "r h", 2)
    assert torch.equal(start[0], initial_vectors(encoder, "r")[0])
    assert torch.equal(start[1], initial_vectors(encoder, "h")[0])


@pytest.mark.parametrize(
    ("init", "n", "words"),
    [
        ("r h", 1, "is 2 tokens of this model, not one: .*, or learn 2 vectors"),
        ("r h", 3, "or learn 2 vectors"),
        ("", 1, "is no token of this model"),
    ],
)
def test_a_start_that_is_not_one_token_is_refused(model, init, n, words):
    with pytest.raises(PromptError, match=words):
        initial_vectors(model.text_encoder, init, n)


def test_a_prompt_with_the_vectors_of_a_word_is_that_word(model):
    encoder: CLIPTextEmbedder = model.text_encoder
    copies = {"<toy>": initial_vectors(encoder, "h")}
    prompt = chunks_of("a red <toy> in it", encoder.tokenizer, encoder.config, "none", copies)
    (found,) = encoder.encode_chunks([prompt])
    assert torch.equal(found, encoder("a red h in it")[0])
