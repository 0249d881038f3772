"""How a prompt is read, as values: conditions, steps, trees, chunks, tokens."""

import dataclasses
import json

import pytest
import torch

from labml_sd.errors import PromptError
from labml_sd.prompt_tools import prompt_reading
from labml_sd.prompt_tools.reading import DEPTH_SHOWN
from labml_sd.text_encoder import chunks_of


@pytest.fixture
def read(model):
    encoder = model.text_encoder

    def reading(prompt, **options):
        return prompt_reading(prompt, encoder.tokenizer, encoder.config, **options)

    return reading


def only(reading):
    (condition,) = reading.conditions
    return condition


def test_a_plain_prompt_has_one_text_for_all_steps(read):
    text = only(read("a red house", n_steps=7))
    assert text.tree == ["a red house"] and text.weight == 1
    (held,) = text.texts
    assert held.steps == (1, 2, 3, 4, 5, 6, 7) and held.text == "a red house"
    (tokens,) = held.chunks
    words = "".join(t.text + " " * t.ends_word for t in tokens)
    assert words == "a red house " and {t.weight for t in tokens} == {1.0}


def test_edits_and_alternations_by_step(read):
    condition = only(read("a [red:[cat|dog]:0.5] [x:2]", n_steps=6))
    assert [(t.steps, t.text) for t in condition.texts] == [
        ((1, 2), "a red "),
        ((3,), "a red x"),
        ((4, 6), "a dog x"),
        ((5,), "a cat x"),
    ]
    assert condition.tree == [
        "a ",
        {"before": ["red"], "after": [{"items": [["cat"], ["dog"]]}], "when": "0.5"},
        " ",
        {"before": [], "after": ["x"], "when": "2"},
    ]


def test_conditions_and_networks(read):
    reading = read("a house :0.7 AND a boat <lora:style:0.8:1>")
    assert [c.weight for c in reading.conditions] == [0.7, 1.0]
    (network,) = reading.networks
    assert (network.kind, network.name, network.arguments) == ("lora", "style", ("0.8", "1"))
    assert len(read("a AND b", several=False).conditions) == 1
    assert read("<a:b>", emphasis="none").networks == ()


def test_tokens_and_weights_are_those_of_the_chunks(read, model):
    encoder = model.text_encoder
    prompt = "a (red:1.3) [house] BREAK " + "boat, " * 90
    (held,) = only(read(prompt)).texts
    chunks = chunks_of(held.text, encoder.tokenizer, encoder.config)
    assert len(held.chunks) == len(chunks) > 2
    for tokens, chunk in zip(held.chunks, chunks, strict=True):
        n = len(tokens)
        assert [t.id for t in tokens] == chunk.ids[1 : n + 1]
        assert [t.weight for t in tokens] == chunk.weights[1 : n + 1]
        assert set(chunk.ids[n + 1 :]) == {encoder.config.eos_id}
    assert only(read("")).texts[0].chunks == ((),)


def test_padding_of_another_token_is_left_out(model):
    encoder = model.text_encoder
    (padding,) = encoder.tokenizer("a", add_special_tokens=False)["input_ids"]
    config = dataclasses.replace(encoder.config, pad_id=padding)
    reading = prompt_reading("house a", encoder.tokenizer, config)
    assert [t.text for t in only(reading).texts[0].chunks[0]][-1] == "a"
    plain = prompt_reading("house a", encoder.tokenizer, encoder.config)
    assert only(reading).texts == only(plain).texts


def test_vectors_of_an_embedding_have_its_name(read):
    toy = torch.zeros(2, 8)
    (held,) = only(read("a (toy:1.5) house", embeddings={"toy": toy})).texts
    named = [(t.embedding, t.weight) for t in held.chunks[0] if t.embedding]
    assert named == [("toy", 1.5), ("toy", 1.5)]
    with pytest.raises(PromptError, match="no embedding 'car'"):
        read("embedding:car", embeddings={"toy": toy})


def test_deep_trees_are_cut_and_values_are_json(read):
    deep = read("[a|" * 3000 + "b" + "]" * 3000, n_steps=2)
    text = json.dumps(dataclasses.asdict(deep))
    assert text.count("items") == DEPTH_SHOWN and '"..."' in text
