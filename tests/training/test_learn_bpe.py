import pytest
from transformers import CLIPTokenizer

from labml_sd.text_encoder.tokenizer import END, START, save_tokenizer
from labml_sd.tiny.scenes import Scene
from labml_sd.training.learn_bpe import (
    END_OF_WORD,
    byte_symbols,
    learn_bpe,
    split_words,
)

CAPTIONS = [Scene.sample(0, index).caption(index) for index in range(3000)]
FRESH = [Scene.sample(1, index).caption(index, full=True) for index in range(200)]
VOCAB, MERGES = learn_bpe(CAPTIONS, 2048)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, VOCAB, MERGES)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def greedy(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """BPE as its paper applies it: all merges, in the order in which they were learnt."""
    symbols = [*word[:-1], word[-1] + END_OF_WORD]
    for left, right in merges:
        i = 0
        while i + 1 < len(symbols):
            if (symbols[i], symbols[i + 1]) == (left, right):
                symbols[i : i + 2] = [left + right]
            i += 1
    return symbols


def test_the_first_merge_joins_the_most_frequent_pair():
    _, merges = learn_bpe(["ab ab cd"], 515)
    assert merges == [("a", "b" + END_OF_WORD)]


def test_of_equally_frequent_pairs_the_first_in_the_alphabet_is_joined():
    assert learn_bpe(["xy ab"], 515) == learn_bpe(["ab xy"], 515)
    assert learn_bpe(["xy ab"], 515)[1] == [("a", "b" + END_OF_WORD)]


def test_the_vocabulary_is_in_the_order_of_clip():
    names = list(VOCAB)
    letters = list(byte_symbols().values())
    assert [VOCAB[name] for name in names] == list(range(len(names)))
    assert names[:512] == letters + [letter + END_OF_WORD for letter in letters]
    assert names[512:-2] == [left + right for left, right in MERGES]
    assert names[-2:] == [START, END]


def test_the_byte_symbols_are_those_of_clip():
    symbols = byte_symbols()
    assert list(symbols.values())[:3] == ["!", '"', "#"]
    assert sorted(symbols) == list(range(256)) and len(set(symbols.values())) == 256
    assert symbols[ord(" ")] == "Ġ" and symbols[0] == "Ā"


def test_learning_stops_where_every_word_is_one_token():
    assert len(VOCAB) < 2048
    words = {word for caption in CAPTIONS for word in split_words(caption)}
    assert all(word + END_OF_WORD in VOCAB for word in words)


def test_a_smaller_vocabulary_is_a_beginning_of_the_larger_one():
    vocab, merges = learn_bpe(CAPTIONS, 560)
    assert (len(vocab), merges) == (560, MERGES[:46])


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="need 514"):
        learn_bpe(CAPTIONS, 513)


@pytest.mark.parametrize("vocab_size", [560, 2048])
def test_clip_tokenizer_cuts_fresh_captions_as_our_merges_do(tmp_path, vocab_size):
    vocab, merges = learn_bpe(CAPTIONS, vocab_size)
    save_tokenizer(tmp_path, vocab, merges)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for caption in [*FRESH, "Two zebras, it's 42!", "a red-hot car_wash ..."]:
        expected = [
            vocab[token] for word in split_words(caption) for token in greedy(word, merges)
        ]
        assert tokenizer(caption).input_ids == [vocab[START], *expected, vocab[END]]


def test_every_word_of_the_language_is_one_token_and_comes_back(tokenizer):
    for word in {word for caption in CAPTIONS for word in split_words(caption)}:
        ids = tokenizer(word).input_ids
        assert len(ids) == 3
        assert tokenizer.decode(ids, skip_special_tokens=True) == word


def test_captions_come_back(tokenizer):
    for caption in FRESH:
        ids = tokenizer(caption).input_ids
        assert len(ids) < 40
        assert tokenizer.decode(ids, skip_special_tokens=True) == caption.replace(",", " ,")


def test_unknown_words_fall_apart_into_bytes_and_come_back_in_lower_case(tokenizer):
    ids = tokenizer("Ünïcode zebra 42!").input_ids
    assert VOCAB[END] not in ids[:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ünïcode zebra 4 2 !"


def test_prompts_are_padded_with_the_end_mark_to_77(tokenizer):
    ids = tokenizer("a red house", padding="max_length", truncation=True).input_ids
    assert tokenizer.model_max_length == len(ids) == 77
    assert ids[0] == VOCAB[START] and ids[4:] == [VOCAB[END]] * 73


def test_long_prompts_are_cut_at_77(tokenizer):
    ids = tokenizer("cat " * 200, padding="max_length", truncation=True).input_ids
    assert len(ids) == 77 and ids[-1] == VOCAB[END]


def test_saving_it_again_with_transformers_changes_no_id(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert [again(caption).input_ids for caption in FRESH] == [
        tokenizer(caption).input_ids for caption in FRESH
    ]
