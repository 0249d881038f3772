import random

import pytest
import torch

from labml_sd.checkpoint.tokenizer_files import CLIP_TOKENIZER
from labml_sd.config import TextEncoderConfig
from labml_sd.errors import PromptError
from labml_sd.text_encoder import CLIPTextEmbedder, chunks_of, load_tokenizer, tokenize
from labml_sd.text_encoder.emphasis import weighted

BOS, EOS, COMMA = 49406, 49407, 267
V1 = TextEncoderConfig()
V2 = TextEncoderConfig(pad_id=0)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CLIP_TOKENIZER)


@pytest.fixture(scope="module")
def words(tokenizer):
    """(n) -> n words of one token each."""
    return lambda n: " ".join(["cat", "dog", "sun", "sea", "sky"][i % 5] for i in range(n))


def content(chunk):
    """The ids between the start marker and the first end marker, or the padding."""
    return chunk.ids[1 : chunk.ids.index(EOS)]


def lengths(chunks):
    return [len(content(chunk)) for chunk in chunks]


@pytest.mark.parametrize("prompt", ["", "a red house", "ein Haus, rot", "<|endoftext|> 猫 é"])
@pytest.mark.parametrize("config", [V1, V2])
def test_a_short_prompt_has_the_ids_of_today(tokenizer, prompt, config):
    (chunk,) = chunks_of(prompt, tokenizer, config)
    plain = tokenize(
        tokenizer, prompt, n_positions=77, bos_id=BOS, eos_id=EOS, pad_id=config.pad_id
    )
    assert chunk.ids == plain[0].tolist() and set(chunk.weights) == {1.0}


@pytest.mark.parametrize(
    ("n", "expected"), [(0, [0]), (74, [74]), (75, [75]), (76, [75, 1]), (150, [75, 75])]
)
def test_chunks_hold_75_tokens(tokenizer, words, n, expected):
    chunks = chunks_of(words(n), tokenizer, V1)
    assert lengths(chunks) == expected
    assert all(len(c.ids) == 77 and c.ids[0] == BOS and c.ids[-1] == EOS for c in chunks)


def test_each_family_has_its_padding(tokenizer):
    (v1,), (v2,) = (chunks_of("cat", tokenizer, config) for config in (V1, V2))
    assert v1.ids[2:] == [EOS] * 75
    assert v2.ids[2:] == [EOS] + [0] * 74


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (60, 20, [61, 20]),  # the comma is token 61: 14 tokens after it move
        (55, 30, [56, 30]),  # 19 tokens after it, with the comma 20
        (54, 30, [75, 10]),  # too far back
        (74, 5, [75, 5]),  # the comma is the last token of the chunk
        (75, 5, [75, 6]),  # a comma that does not fit begins the next chunk
    ],
)
def test_a_chunk_ends_at_a_comma_that_is_near(tokenizer, words, before, after, expected):
    chunks = chunks_of(f"{words(before)}, {words(after)}", tokenizer, V1)
    assert lengths(chunks) == expected
    flat = [i for chunk in chunks for i in content(chunk)]
    assert len(flat) == before + 1 + after and flat[before] == COMMA


def test_the_last_of_several_commas_counts(tokenizer, words):
    assert lengths(chunks_of(f"{words(57)}, {words(4)}, {words(30)}", tokenizer, V1)) == [
        63,
        30,
    ]


def test_BREAK_ends_a_chunk(tokenizer):
    assert lengths(chunks_of("cat BREAK dog sun", tokenizer, V1)) == [1, 2]
    assert lengths(chunks_of("BREAK dog", tokenizer, V1)) == [0, 1]
    assert lengths(chunks_of("cat BREAK", tokenizer, V1)) == [1]
    assert lengths(chunks_of("BREAK BREAK", tokenizer, V1)) == [0, 0]
    (plain,) = chunks_of("cat BREAK dog", tokenizer, V1, "none")
    assert len(content(plain)) == 3


def test_weights_stand_beside_their_tokens_and_move_with_them(tokenizer, words):
    first, second = chunks_of(f"{words(60)}, (dog:1.3) {words(20)}", tokenizer, V1)
    assert set(first.weights) == {1.0}
    assert second.weights[1] == 1.3 and set(second.weights[2:]) == {1.0}


@pytest.mark.parametrize("emphasis", ["a1111", "no_norm", "ignore"])
def test_the_tokens_are_those_of_the_segments(tokenizer, emphasis):
    prompt = "a ((masterpiece:1.2)), [blurry], best quality"
    (chunk,) = chunks_of(prompt, tokenizer, V1, emphasis)
    expected = []
    for text, weight in weighted(prompt)[0]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected += [(i, weight) for i in ids]
    found = [*zip(chunk.ids, chunk.weights, strict=True)]
    assert found[1 : 1 + len(expected)] == expected


def test_plain_text_keeps_its_brackets(tokenizer):
    (chunk,) = chunks_of("a (cat:1.3)", tokenizer, V1, "none")
    expected = tokenizer("a (cat:1.3)", add_special_tokens=False)["input_ids"]
    assert content(chunk) == expected and set(chunk.weights) == {1.0}


def test_comfyui_moves_a_short_word_and_divides_a_long_one(tokenizer, words):
    short = "xqzvk"  # between 2 and 7 tokens
    n = len(tokenizer(short, add_special_tokens=False)["input_ids"])
    assert 2 <= n < 8
    assert lengths(chunks_of(f"{words(74)} {short}", tokenizer, V1, "comfy")) == [74, n]
    long = "xqzvk" * 8
    n = len(tokenizer(long, add_special_tokens=False)["input_ids"])
    assert n >= 8
    chunks = chunks_of(f"{words(70)} {long}", tokenizer, V1, "comfy")
    assert lengths(chunks) == [75, n - 5]
    assert lengths(chunks_of(f"{words(60)}, {words(20)}", tokenizer, V1, "comfy")) == [75, 6]


TOY = torch.arange(8.0).reshape(2, 4)
ONE = torch.ones(1, 4)


def placed(text, tokenizer, embeddings=None, emphasis="a1111"):
    """(chunk, position, vector) of the vectors of embeddings."""
    chunks = chunks_of(
        text, tokenizer, V1, emphasis, embeddings or {"toy": TOY, "toy-two": ONE}
    )
    return [
        (k, i, token.vector.tolist())
        for k, chunk in enumerate(chunks)
        for i, token in enumerate(chunk.tokens)
        if token.vector is not None
    ]


TWO = [(0, 2, TOY[0].tolist()), (0, 3, TOY[1].tolist())]


@pytest.mark.parametrize("emphasis", ["a1111", "comfy", "none"])
@pytest.mark.parametrize(
    "prompt", ["a toy", "a TOY", "a toy, red", "a embedding:toy", "a toy.", "a 'toy'"]
)
def test_a_name_stands_for_its_vectors(tokenizer, prompt, emphasis):
    found = placed(prompt, tokenizer, emphasis=emphasis)
    if prompt == "a 'toy'":
        assert [vector for _, _, vector in found] == TOY.tolist()
    else:
        assert found == TWO


@pytest.mark.parametrize("prompt", ["toys", "atoy", "a toy_", "toy2", "a t oy", "étoy"])
def test_a_name_inside_a_word_is_none(tokenizer, prompt):
    assert placed(prompt, tokenizer) == []


def test_letters_that_are_equal_without_case_are_found_too(tokenizer):
    # The long s and the sign of kelvin are s and k to a pattern without case.
    assert [v for *_, v in placed("a toy\u017f", tokenizer, {"toys": ONE})] == ONE.tolist()
    assert [v for *_, v in placed("a \u212aid", tokenizer, {"kid": ONE})] == ONE.tolist()


def test_a_chunk_knows_its_text_whatever_the_padding(tokenizer):
    for config in (V1, V2):  # in V2 the padding is an exclamation mark
        (chunk,) = chunks_of("cat !", tokenizer, config)
        ids = tokenizer("cat !", add_special_tokens=False)["input_ids"]
        assert [token.id for token in chunk.inside] == ids


def test_the_longest_name_counts(tokenizer):
    assert placed("toy-two", tokenizer) == [(0, 1, ONE[0].tolist())]


def test_names_may_have_any_characters(tokenizer):
    embeddings = {"<toy>": TOY, "a.b*(c": ONE}
    assert [v for *_, v in placed("a <toy> x", tokenizer, embeddings)] == TOY.tolist()
    assert placed("a.b*(c", tokenizer, embeddings, "none") == [(0, 1, ONE[0].tolist())]
    assert placed("aXb", tokenizer, {"a.b": ONE}) == []


def test_a_weight_holds_for_all_vectors_and_takes_no_more_tokens(tokenizer):
    plain, weighed = (
        chunks_of(text, tokenizer, V1, embeddings={"toy": TOY})[0]
        for text in ("a toy x", "a (toy:1.3) x")
    )
    assert plain.ids == weighed.ids
    assert weighed.weights[1:6] == [1.0, 1.3, 1.3, 1.0, 1.0]


@pytest.mark.parametrize("emphasis", ["a1111", "comfy"])
def test_vectors_are_never_divided_between_chunks(tokenizer, words, emphasis):
    nine = {"toy": torch.ones(9, 4)}
    found = placed(f"{words(70)} toy", tokenizer, nine, emphasis)
    assert [(k, i) for k, i, _ in found] == [(1, i) for i in range(1, 10)]


def test_an_embedding_that_is_not_there_is_one_line(tokenizer):
    with pytest.raises(PromptError, match=r"no embedding 'car': .* there are: toy, toy-two"):
        placed("a embedding:car", tokenizer)
    with pytest.raises(PromptError, match=r"there are: none"):
        chunks_of("embedding:car", tokenizer, V1)
    with pytest.raises(PromptError, match="has 76 vectors: a chunk of a prompt holds 75"):
        placed("toy", tokenizer, {"toy": torch.ones(76, 4)})


def test_a_text_of_more_than_64_chunks_is_cut_with_a_warning(tokenizer, words):
    with pytest.warns(UserWarning, match=r"the prompt is 2 tokens too long; cut off: '"):
        chunks = chunks_of(words(64 * 75 + 2), tokenizer, V1)
    assert lengths(chunks) == [75] * 64


SMALL = TextEncoderConfig(d_model=8, n_layers=2, n_heads=2, d_mlp=16)


@pytest.fixture(scope="module")
def embedder(randomise, tokenizer):
    return randomise(CLIPTextEmbedder(SMALL, tokenizer).double())


def by_definition(embedder, prompt, emphasis, embeddings):
    """A second implementation: token by token in plain Python, without commas and BREAK."""
    tokenizer, transformer = embedder.tokenizer, embedder.transformer
    table = transformer.embeddings.token_embedding.weight
    rows, weights = [], []
    for text, weight in weighted(prompt)[0]:
        for word in text.split():
            if word in embeddings:
                new = list(embeddings[word])
            else:
                new = [table[i] for i in tokenizer(word, add_special_tokens=False)["input_ids"]]
            rows += new
            weights += [weight] * len(new)
    out = []
    for start in range(0, max(1, len(rows)), 75):
        part, w = rows[start : start + 75], weights[start : start + 75]
        n = 75 - len(part)
        x = torch.stack([table[BOS], *part, *[table[EOS]] * (n + 1)])[None]
        x = x + transformer.embeddings.position_embedding.weight
        for layer in transformer.encoder.layers:
            x = layer(x)
        z = transformer.final_layer_norm(x)[0]
        w = torch.tensor([1.0, *w, *[1.0] * (n + 1)], dtype=z.dtype)[:, None]
        new = z * w
        out.append(new * (z.mean() / new.mean()) if emphasis == "a1111" else new)
    return torch.cat(out)


@pytest.mark.parametrize("emphasis", ["a1111", "no_norm"])
def test_weighted_and_long_prompts_agree_with_a_second_implementation(embedder, emphasis):
    rng = random.Random(0)
    toy = {"<toy>": torch.randn(3, 8, generator=torch.Generator().manual_seed(1)).double()}
    for n in (0, 1, 5, 40, 100, 200):
        words = rng.choices(["cat", "(dog:1.4)", "[sun]", "((sky))", "big", "red"], k=n)
        prompt = " ".join([*words, "<toy>", "(sea:0.3)"])
        chunks = chunks_of(prompt, embedder.tokenizer, SMALL, emphasis, toy)
        (found,) = embedder.encode_chunks([chunks], emphasis=emphasis)
        expected = by_definition(embedder, prompt, emphasis, toy)
        if len(expected) > 77 and found.shape != expected.shape:
            continue  # the embedding did not fit into the rest of a chunk
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_comfyui_moves_words_from_the_empty_prompt(embedder):
    chunks = chunks_of("a (cat:1.4) b", embedder.tokenizer, SMALL, "comfy")
    (found,) = embedder.encode_chunks([chunks], emphasis="comfy")
    z, empty = embedder(["a cat b", ""])
    expected = z.clone()
    expected[2] = empty[2] + 1.4 * (z[2] - empty[2])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_several_prompts_are_encoded_together_as_alone(embedder):
    texts = ["cat", " ".join(["dog"] * 100), "(sun:1.2) BREAK sea"]
    prompts = [chunks_of(text, embedder.tokenizer, SMALL) for text in texts]
    together = embedder.encode_chunks(prompts)
    assert [len(z) for z in together] == [77, 154, 154]
    for prompt, z in zip(prompts, together, strict=True):
        torch.testing.assert_close(embedder.encode_chunks([prompt])[0], z)
