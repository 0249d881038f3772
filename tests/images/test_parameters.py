import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labml_sd.images.parameters import read_text, write_text

PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=40)
ENTRIES = {"Steps": 20, "Sampler": "Euler a", "Size": "8x8"}
WEB_UI = (
    "a castle,\n(detailed:1.2)\n"
    "Negative prompt: lowres\nbad hands, text\n"
    "Steps: 28, Sampler: Euler a, Schedule type: Automatic, CFG scale: 6.5, Seed: 1234, "
    "Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, "
    'Lora hashes: "a: 1, b: 2", Version: v1.9.0'
)


def test_a_text_has_the_lines_of_the_web_uis():
    assert write_text("a house", "blurry", {"Steps": 20, "CFG scale": 7.0}) == (
        "a house\nNegative prompt: blurry\nSteps: 20, CFG scale: 7"
    )
    assert write_text("a house", "", {"Steps": 20}) == "a house\nSteps: 20"


def test_a_float_is_written_short_where_that_is_exact():
    values = {"a": 7.0, "b": 0.5, "c": 0.1 + 0.2}
    assert write_text("", "", values) == "\na: 7, b: 0.5, c: 0.30000000000000004"


def test_a_value_with_commas_or_colons_is_written_as_a_json_string():
    values = {"Sampler": "DDIM(eta=0.5, n=1)", "Model": 'a: "b"', "Version": "1"}
    text = write_text("p", "", values)
    assert text == 'p\nSampler: "DDIM(eta=0.5, n=1)", Model: "a: \\"b\\"", Version: 1'
    assert read_text(text) == ("p", "", values)


def test_half_a_surrogate_pair_is_written_as_a_question_mark():
    assert write_text("a \ud83c b", "", ENTRIES).startswith("a ? b\n")


def test_a_web_uis_text_is_read():
    prompt, negative_prompt, entries = read_text(WEB_UI)
    assert (prompt, negative_prompt) == (
        "a castle,\n(detailed:1.2)",
        "lowres\nbad hands, text",
    )
    assert entries == {
        "Steps": "28",
        "Sampler": "Euler a",
        "Schedule type": "Automatic",
        "CFG scale": "6.5",
        "Seed": "1234",
        "Size": "512x768",
        "Model hash": "6ce0161689",
        "Model": "v1-5",
        "Clip skip": "2",
        "Lora hashes": "a: 1, b: 2",
        "Version": "v1.9.0",
    }


@pytest.mark.parametrize("text", ["a: b, c: d", "only a prompt", "", "Negative prompt: x"])
def test_a_last_line_with_few_entries_belongs_to_the_prompt(text):
    prompt, negative_prompt, entries = read_text(text)
    assert entries == {} and prompt + negative_prompt in (text, "x")


def test_a_long_line_of_words_is_searched_once():
    assert read_text("word " * 100_000)[2] == {}


INJECTED = st.lists(
    st.sampled_from(["\n", "Steps: 1, Sampler: x, Seed: 1", "Negative prompt: ", '"', "\0"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
).map("".join)


@PROPERTY
@given(INJECTED, INJECTED)
def test_no_prompt_changes_the_entries(prompt, negative_prompt):
    entries = read_text(write_text(prompt, negative_prompt, ENTRIES))[2]
    assert entries == {key: str(value) for key, value in ENTRIES.items()}


@PROPERTY
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_can_be_read(text):
    prompt, negative_prompt, entries = read_text(text)
    assert len(prompt) + len(negative_prompt) + sum(map(len, entries)) <= len(text)
