"""Variants: chosen at random, or all of them; the same for the same seed; always bounded."""

import inspect
import random
import sys
from collections import Counter
from contextlib import suppress
from itertools import product

import pytest

from labml_sd.errors import PromptError
from labml_sd.prompt_tools import prompt_variants
from labml_sd.prompt_tools.variants import MAX_VARIANTS, read_template
from labml_sd.text_encoder import read_prompt

TEMPLATE = "a {red|blue|green} {house|boat}, {2$$snow|sun|rain}"


def every(prompt, n=None):
    return prompt_variants(prompt, n, combinatorial=True)


def test_a_variant_depends_on_its_seed_and_number_alone():
    ten = prompt_variants(TEMPLATE, 10, seed=3)
    assert prompt_variants(TEMPLATE, 10, seed=3) == ten
    assert prompt_variants(TEMPLATE, 4, seed=3) == ten[:4]
    assert prompt_variants(TEMPLATE, 4, seed=3, first=6) == ten[6:]
    assert prompt_variants(TEMPLATE, 10, seed=4) != ten
    assert len(set(ten)) > 3


def test_the_draws_of_every_version_are_the_same():
    # Only `random()` of a generator seeded by a text: Python promises that it stays.
    assert prompt_variants("{a|b|c|d|e|f|g|h}", 8, seed=0) == list("fcbgeecd")


def test_state_of_the_random_module_has_no_effect():
    random.seed(1)
    first = prompt_variants(TEMPLATE, 3)
    random.seed(2)
    assert prompt_variants(TEMPLATE, 3) == first


def test_options_are_drawn_evenly_or_by_weight():
    even = Counter(prompt_variants("{a|b}", 4000))
    assert 1800 < even["a"] < 2200
    weighed = Counter(prompt_variants("{3::a|1::b|0::c}", 4000))
    assert 2850 < weighed["a"] < 3150 and weighed["c"] == 0


def test_several_options_are_drawn_without_repeats_in_any_order():
    drawn = Counter(prompt_variants("{2$$-$$a|b|c}", 6000))
    assert set(drawn) == {"a-b", "a-c", "b-a", "b-c", "c-a", "c-b"}
    assert all(850 < n < 1150 for n in drawn.values())


def test_several_options_by_weight():
    # first b: 1/4 of the time; then a, c with weights 2, 1
    drawn = Counter(prompt_variants("{2$$-$$2::a|b|c}", 8000))
    expected = {"a-b": 2 / 4 / 2, "b-a": 1 / 4 * 2 / 3, "b-c": 1 / 4 / 3}
    for text, share in expected.items():
        assert drawn[text] / 8000 == pytest.approx(share, abs=0.02)


def test_a_range_gives_every_number_of_options():
    lengths = Counter(len(t.split(", ")) for t in prompt_variants("{1-3$$a|b|c}", 3000))
    assert all(850 < lengths[k] < 1150 for k in (1, 2, 3))


def test_more_options_than_there_are():
    assert sorted(prompt_variants("{9$$a|b}")[0]) == [" ", ",", "a", "b"]
    assert every("{0$$a|b}") == [""]


def test_all_combinations_in_order():
    assert every("{a|b}{1|2}") == ["a1", "a2", "b1", "b2"]
    assert every("{a|b{1|2}}") == ["a", "b1", "b2"]
    assert every("{2$$ $$a|b{1|2}}") == ["a b1", "a b2", "b1 a", "b2 a"]
    assert every("{0-1$$a|b}!") == ["!", "a!", "b!"]
    assert every("plain {") == ["plain {"]


def test_all_combinations_are_what_can_be_drawn_at_random():
    template = "{a|b|{1-2$$c|d|0::e}} {x|}"
    assert set(every(template)) == set(prompt_variants(template, 1000))


@pytest.mark.parametrize(
    "template", ["{a|b}{c|d}", "{1-3$$a|b{c|d}|e}", "{2$${a|b}|{c|d}|{e|f}}", "x", "{2$$a}"]
)
def test_combinations_are_counted_without_making_them(template):
    assert read_template(template).n_combinations == len(every(template))


def test_too_many_combinations_are_counted_and_the_first_can_be_had():
    with pytest.raises(PromptError, match="there are 16,384 combinations: ask for the first n"):
        every("{a|b}" * 14)
    with pytest.raises(PromptError, match="at least 1,000,000,000,000,000 combinations"):
        every("{a|b}" * 1000)
    with pytest.raises(PromptError, match="at least 1,000,000,000,000,000 combinations"):
        every("{1-$$" + "|".join(map(str, range(500))) + "}")
    firsts = ["".join(rest) for rest in product("ab", repeat=14)][:3]
    assert every("{a|b}" * 14, 3) == firsts


def test_wrong_arguments_are_prompt_errors():
    variants = inspect.unwrap(prompt_variants)  # without the check of types that tests have
    for wrong in (0, -1, 1.5, "3", True, MAX_VARIANTS + 1):
        with pytest.raises(PromptError, match="n is"):
            variants("a", wrong)
    with pytest.raises(PromptError, match="seed is"):
        variants("a", seed=0.5)
    with pytest.raises(PromptError, match="first is"):
        variants("a", first=-1)
    with pytest.raises(PromptError, match="prompt is of type list"):
        variants(["a"])
    with pytest.raises(PromptError, match="all weights of a choice are 0"):
        prompt_variants("{0::a|0.0::b}")


def test_what_is_too_much_is_refused():
    with pytest.raises(PromptError, match="longer than 65,536 characters"):
        prompt_variants("a" * 65_537)
    long = "a" * 60_000
    assert prompt_variants(long) == [long]
    with pytest.raises(PromptError, match="ask for fewer"):
        prompt_variants(long, 10_000)
    many = "|".join("abcdefghi")
    with pytest.raises(PromptError, match="could become too long"):
        prompt_variants("{9$$" + "x" * 9_000 + "$$" + many + "}")


def test_what_the_prompt_grammar_reads_is_left_to_it():
    prompt = r"(a:1.2) \(b\) [c:d:0.5] [e|f] AND <lora:x_y:0.8> g BREAK h :0.5"
    assert prompt_variants(prompt) == [prompt]
    drawn = every("[{a|b}:{c|d}:0.5] AND <lora:{e|f}:1>")
    assert len(drawn) == 8 and all(read_prompt(text).changes for text in drawn)


MARKS = {  # texts of about 60 n characters
    "open": lambda n: "{" * 60 * n,
    "closed": lambda n: "}" * 60 * n,
    "nested": lambda n: "{" * 30 * n + "}" * 30 * n,
    "bars": lambda n: "|" * 60 * n,
    "crossed": lambda n: "[{" * 15 * n + "]}" * 15 * n,
    "lines": lambda n: "_" * 60 * n,
    "names": lambda n: "__a" * 20 * n,
    "escapes": lambda n: "\\" * 60 * n,
    "choices": lambda n: "{a|b}" * 12 * n,
    "a wide choice": lambda n: "{2$$" + "|" * 60 * n + "}",
    "bars inside": lambda n: "{[" * 28 * n + "|" * 4 * n,
    "brackets inside": lambda n: "{" + "[|" * 30 * n + "}",
}


def answer(text):
    with suppress(PromptError):
        assert len(prompt_variants(text)) == 1


def lines_run(text):
    """How many lines of the package run to answer."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if "labml_sd" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        answer(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", MARKS)
def test_the_work_for_a_text_of_marks_grows_with_its_length_and_not_faster(name):
    short, long = (lines_run(MARKS[name](n)) for n in (20, 40))
    assert 10 < long <= 2.1 * short


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKS)
def test_the_longest_texts_of_marks_are_answered(name):
    answer(MARKS[name](1_080))


@pytest.mark.parametrize("n", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_strings_are_answered(n):
    marks = [
        "{",
        "}",
        "|",
        "$$",
        "2$$",
        "1-",
        "::",
        "0.5::",
        "[",
        "]",
        "(",
        ")",
        "\\",
        "__",
        "_",
    ]
    marks += ["a", "bc ", "*", "/", "AND", ":", "<", "\n", "\ud800", "é"]
    source = random.Random(0)
    answered = 0
    for _ in range(n):
        text = "".join(source.choices(marks, k=source.randrange(1, 25)))
        try:
            answered += isinstance(prompt_variants(text)[0], str)
        except PromptError as error:  # a wildcard without a folder, weights of 0
            assert "wildcard" in str(error) or "weights" in str(error)
    assert answered > 0.8 * n
