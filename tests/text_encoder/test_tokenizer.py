import shutil
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labml_sd.errors import CheckpointError, PromptError
from labml_sd.text_encoder.tokenizer import check_prompts, load_tokenizer, tokenize


@pytest.fixture(scope="session")
def ids(tokenizer):
    """Prompts -> ids, as the text encoder computes them."""

    def run(prompts, n_positions=77):
        marks = {"bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id}
        return tokenize(tokenizer, prompts, n_positions=n_positions, **marks)

    return run


@pytest.fixture(scope="session")
def marks(tokenizer):
    return tokenizer.bos_token_id, tokenizer.eos_token_id


def words(row, marks):
    """The ids between the start marker and the first end marker."""
    listed = row.tolist()
    assert listed[0] == marks[0]
    end = listed.index(marks[1])
    assert set(listed[end:]) == {marks[1]}
    return listed[1:end]


def test_one_prompt_becomes_a_list_of_one():
    assert check_prompts("a cat") == ["a cat"]


def test_several_prompts_stay_in_order():
    assert check_prompts(["b", "", "a"]) == ["b", "", "a"]


@pytest.mark.parametrize("wrong", [None, 3, b"a cat", {"a": 1}, {"a"}])
def test_anything_but_a_text_or_a_list_of_texts_is_refused(wrong):
    with pytest.raises(PromptError, match=f"prompt is of type {type(wrong).__name__}: give"):
        check_prompts(wrong)


def test_an_empty_list_is_refused():
    with pytest.raises(PromptError, match="prompt is an empty list: give"):
        check_prompts([])


@pytest.mark.parametrize("wrong", [None, 3, b"a cat", ["a cat"]])
def test_a_list_that_holds_anything_but_texts_is_refused(wrong):
    with pytest.raises(PromptError, match=f"item of type {type(wrong).__name__}: give texts"):
        check_prompts(["a cat", wrong])


def test_ids_are_start_words_end_and_padding_of_the_same_id(ids, tokenizer, marks):
    row = ids("a red house")[0]
    assert row.shape == (77,)
    assert tokenizer.decode(words(row, marks)).strip() == "a red house"


def test_ids_equal_those_of_the_tokenizer_with_its_own_markers_and_padding(ids, tokenizer):
    prompts = ["a red house in the snow", "Ünïcödé, 42 cats!"]
    theirs = tokenizer(prompts, padding="max_length", max_length=77, truncation=True)[
        "input_ids"
    ]
    assert ids(prompts).tolist() == theirs


def test_ids_are_int64_one_row_a_prompt(ids):
    batch = ids(["a cat", "a red house", ""])
    assert batch.dtype == torch.int64
    assert batch.shape == (3, 77)
    assert torch.equal(batch[1:2], ids("a red house"))


def test_the_empty_prompt_has_only_the_two_markers(ids, marks):
    assert words(ids("")[0], marks) == []


def test_upper_case_and_wide_spaces_do_not_matter(ids):
    assert torch.equal(ids("A  RED\n\thouse "), ids("a red house"))


def test_a_prompt_that_just_fits_gives_no_warning(ids, marks):
    assert len(words(ids("a " * 75)[0], marks)) == 75


def test_a_prompt_that_is_too_long_is_cut_and_the_warning_quotes_the_part_cut_off(ids, marks):
    with pytest.warns(UserWarning, match="3 tokens too long; cut off: 'the the the'"):
        row = ids("a " * 75 + "the the the")[0]
    assert torch.equal(row, torch.cat([ids("a " * 75)[0, :76], torch.tensor([marks[1]])]))


def test_half_a_character_is_not_quoted(ids):
    with pytest.warns(UserWarning, match=r"cut off: 'é+'$"):  # two tokens each, 75 are read
        ids("é" * 100)


def test_there_is_one_warning_for_each_prompt_that_is_cut(ids):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ids(["a cat", "a " * 76, "a house"])
    assert len(caught) == 1


@pytest.mark.parametrize(
    "mark", ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|EndOfText|>"]
)
def test_a_marker_typed_as_text_stays_text(ids, tokenizer, marks, mark):
    found = words(ids(f"a {mark} cat")[0], marks)
    assert not set(found) & set(marks)
    text = "".join(tokenizer.decode(found).split())
    assert text == f"a{mark.lower()}cat"


def test_a_marker_inside_a_marker_stays_text(ids, marks):
    found = words(ids("<|endof<|endoftext|>text|> cat")[0], marks)
    assert not set(found) & set(marks)


@pytest.mark.parametrize(
    "prompt", ["\ud800", "a \udfff cat", "\x00", "a\x00cat", "\ufeff", "🏠", "\U0010ffff"]
)
def test_unusual_characters_do_not_crash(ids, marks, prompt):
    assert ids(prompt).shape == (1, 77)


def test_a_lone_surrogate_becomes_a_question_mark(ids):
    assert torch.equal(ids("a \ud800 cat"), ids("a ? cat"))


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_becomes_ids_of_the_vocabulary_with_markers_only_at_its_ends(
    tokenizer, ids, marks, prompt
):
    with warnings.catch_warnings():
        # A prompt may be too long: a character has up to four bytes, each of them a token.
        warnings.simplefilter("ignore", UserWarning)
        row = ids(prompt)[0]
    found = words(row, marks)
    assert all(0 <= i < marks[0] for i in found)


MEGABYTE = {
    "one letter": "a" * 2**20,
    "digits": "1" * 2**20,
    "emoji": "🏠" * 2**18,
    "families": "👩\u200d👩\u200d👧" * (2**20 // 18),
    "combining marks": "e" + "\u0301" * (2**19 - 1),
    "capital dotted i": "İ" * 2**19,
    "markers": "<|endoftext|>" * (2**20 // 13),
    "half a marker": "<|endof" * (2**20 // 7),
    "NUL": "\0" * 2**20,
    "halves of surrogate pairs": "\ud800" * (2**20 // 3),
    "words": "the " * 2**18,
    "right to left": "\u202e א" * (2**20 // 6),
}


@pytest.mark.parametrize("prompt", MEGABYTE.values(), ids=MEGABYTE.keys())
def test_a_megabyte_of_anything_is_cut_and_the_warning_stays_short(ids, marks, prompt):
    with pytest.warns(
        UserWarning, match=r"more than \d+ tokens too long; cut off: .* more characters"
    ) as caught:
        row = ids(prompt)[0]
    assert len(words(row, marks)) == 75
    (text,) = (str(each.message) for each in caught)
    assert text.isprintable() and len(text) < 6000


@pytest.mark.parametrize(
    "prompt", [" " * 2**20, "\n\u3000" * 2**18], ids=["spaces", "lines and wide spaces"]
)
def test_a_megabyte_of_spaces_is_the_empty_prompt(ids, prompt):
    assert torch.equal(ids(prompt), ids(""))


@pytest.mark.parametrize(
    "space", "\t\n\v\f\r \x85\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000"
)
def test_words_after_many_spaces_of_any_kind_are_still_used(ids, space):
    assert torch.equal(ids("a" + space * 10_000 + "red" + space + "house"), ids("a red house"))


def test_the_beginning_of_a_long_prompt_gives_the_tokens_of_the_whole(tokenizer, ids):
    prompt = "Ünïcödé, 42 cats & the red house's boat! 🏠 e\u0301  " * 300
    all_of_it = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    with pytest.warns(UserWarning, match="too long"):
        assert ids(prompt)[0, 1:76].tolist() == all_of_it[:75]


@pytest.mark.parametrize(
    "prompt", ["a" * (2**20 + 1), "雪" * (2**20 // 3 + 1), "\ud800" * 2**19]
)
def test_more_than_a_megabyte_is_refused_and_the_limit_named(prompt):
    with pytest.raises(PromptError, match="negative_prompt is longer than 1,048,576 bytes"):
        check_prompts(["a cat", prompt], "negative_prompt")


def test_two_halves_of_a_surrogate_pair_are_their_character(ids):
    assert torch.equal(ids("a \ud83c\udfe0"), ids("a 🏠"))


def test_a_folder_without_the_files_is_refused_by_name(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"no tokenizer\.json, and no vocab\.json with merges\.txt"
    ):
        load_tokenizer(tmp_path)


def test_a_damaged_file_is_refused_in_one_line(tokenizer_folder, tmp_path):
    folder = shutil.copytree(tokenizer_folder, tmp_path / "damaged")
    (folder / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


def test_the_two_files_alone_are_enough(tokenizer_folder, tmp_path, tokenizer):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(tokenizer_folder / name, tmp_path)
    prompt = "a red house, 7 cats & a boat"
    assert load_tokenizer(tmp_path)(prompt)["input_ids"] == tokenizer(prompt)["input_ids"]
