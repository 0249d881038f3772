import random
import warnings

import pytest

from labml_sd.text_encoder.emphasis import weighted, weighted_as_comfy
from labml_sd.text_encoder.prompt_grammar import ExtraNetwork, read_prompt

AND = [
    ("a", [("a", 1.0)]),
    ("a AND b", [("a ", 1.0), (" b", 1.0)]),
    ("a :0.7 AND b :1.2", [("a ", 0.7), (" b ", 1.2)]),
    ("a:0.7 AND b:-1", [("a", 0.7), (" b", -1.0)]),
    ("a: 2 AND b", [("a", 2.0), (" b", 1.0)]),
    ("a:.5 AND b:1.", [("a", 0.5), (" b", 1.0)]),
    ("a AND b AND c:3", [("a ", 1.0), (" b ", 1.0), (" c", 3.0)]),
    ("a AND", [("a ", 1.0), ("", 1.0)]),
    ("AND", [("", 1.0), ("", 1.0)]),
    ("a\nAND\nb", [("a\n", 1.0), ("\nb", 1.0)]),
    ("sand AND SANDY land", [("sand ", 1.0), (" SANDY land", 1.0)]),
    ("a and b", [("a and b", 1.0)]),
    ("aANDb", [("aANDb", 1.0)]),
    ("a:1.5", [("a:1.5", 1.0)]),  # a weight counts only beside AND
    ("wide 16:9", [("wide 16:9", 1.0)]),
    ("a:x AND b", [("a:x ", 1.0), (" b", 1.0)]),
    ("(a:1.3) AND b", [("(a:1.3) ", 1.0), (" b", 1.0)]),
]
NETWORKS = [
    ("a <lora:x:0.8> b", "a  b", [ExtraNetwork("lora", "x", ("0.8",))]),
    ("<lora:x>", "", [ExtraNetwork("lora", "x")]),
    (
        "<lora:x:0.8:te=1:unet=0.5>",
        "",
        [ExtraNetwork("lora", "x", ("0.8", "te=1", "unet=0.5"))],
    ),
    ("<a:b><c:d>", "", [ExtraNetwork("a", "b"), ExtraNetwork("c", "d")]),
    ("<lora:my style:1>", "", [ExtraNetwork("lora", "my style", ("1",))]),
    ("[<lora:x:1>|b]", None, [ExtraNetwork("lora", "x", ("1",))]),
    ("<toy>", "<toy>", []),
    ("<:x>", "<:x>", []),
    ("<a:>", "<a:>", []),
    ("a < b : c > d", "a < b : c > d", []),
    ("<lora:x", "<lora:x", []),
    ("lora:x>", "lora:x>", []),
    ("<3 :)", "<3 :)", []),
]


@pytest.mark.parametrize(("prompt", "expected"), AND)
def test_AND_joins_conditions_with_weights(prompt, expected):
    read = read_prompt(prompt)
    assert list(zip(read.texts(1, 10), read.weights, strict=True)) == expected


@pytest.mark.parametrize(("prompt", "text", "networks"), NETWORKS)
def test_extra_networks_are_taken_out_first(prompt, text, networks):
    read = read_prompt(prompt)
    assert list(read.networks) == networks
    if text is not None:
        assert read.texts(1, 10) == (text,)


def test_the_order_is_networks_AND_schedule_emphasis():
    read = read_prompt("[a:b:2] <lora:x:1>:0.5 AND (c:1.2) [d|e]")
    assert read.weights == (0.5, 1.0)
    assert read.texts(1, 4) == ("a ", " (c:1.2) d") and read.texts(4, 4) == ("b ", " (c:1.2) e")
    assert read.changes


def test_a_weight_in_square_brackets_is_an_edit():
    assert read_prompt("[a:1.3]").texts(1, 2) == ("",)  # from step 2.6 on


def test_in_a_negative_prompt_AND_is_a_word():
    read = read_prompt("a AND b:2 [c:d:1]", several=False)
    assert read.weights == (1.0,) and read.texts(2, 2) == ("a AND b:2 d",)


@pytest.mark.parametrize("emphasis", ["none", "comfy"])
def test_plain_text_and_comfyui_have_no_other_marks(emphasis):
    prompt = "[a:b:1] AND <lora:x:1> [c|d]"
    read = read_prompt(prompt, emphasis)
    assert read.texts(1, 10) == (prompt,) and not read.networks and not read.changes


def test_a_very_long_prompt_is_cut_with_a_warning():
    with pytest.warns(UserWarning, match="the prompt is too long; cut off"):
        (text,) = read_prompt("a " * 40_000).texts(1, 1)
    assert len(text) == 65_536


@pytest.mark.slow
def test_100_000_random_texts_are_answered():
    rng = random.Random(0)
    words = [*"()[]:|<>\\,.{} ", "a", "é", "\ud800", " AND ", "BREAK", "0.5", "1", ":1.2)"]
    words += ["<lora:x:1>"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100_000):
            read = read_prompt("".join(rng.choices(words, k=rng.randrange(25))))
            for text in read.texts(1, 3):
                assert weighted(text)
                weighted_as_comfy(text)
