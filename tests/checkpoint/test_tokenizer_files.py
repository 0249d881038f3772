import json

import pytest

from labml_sd.checkpoint.tokenizer_files import (
    CLIP_TOKENIZER,
    find_tokenizer,
    padding_id,
    tokenizer_text,
    write_tokenizer,
)
from labml_sd.config import TextEncoderConfig
from labml_sd.errors import CheckpointError
from labml_sd.text_encoder import load_tokenizer

PROMPT = "a red house, RÉD houses!"


def test_a_tokenizer_comes_back_from_its_text_and_from_its_files(words, config, tmp_path):
    tokenizer = load_tokenizer(words)
    text = tokenizer_text(tokenizer)
    write_tokenizer(text, tmp_path / "tokenizer", n_positions=77)
    for found in (
        find_tokenizer(None, text, config.text_encoder),
        load_tokenizer(tmp_path / "tokenizer"),
    ):
        assert found(PROMPT)["input_ids"] == tokenizer(PROMPT)["input_ids"]
        assert len(found) == len(tokenizer)
    assert json.loads((words / "vocab.json").read_text()) == json.loads(
        (tmp_path / "tokenizer/vocab.json").read_text()
    )


def test_a_given_folder_goes_before_the_one_inside(words, config, tmp_path):
    assert len(find_tokenizer(words, tmp_path, config.text_encoder)) == 516


def test_a_tokenizer_of_another_size_is_refused(words):
    with pytest.raises(CheckpointError, match="516 entries, the text encoder expects 600"):
        find_tokenizer(words, None, TextEncoderConfig(vocab_size=600))


def test_a_small_model_without_a_tokenizer_asks_for_a_folder(config):
    with pytest.raises(CheckpointError, match="tokenizer=<folder>"):
        find_tokenizer(None, None, config.text_encoder)


def test_clips_tokenizer_is_bundled():
    tokenizer = find_tokenizer(None, None, TextEncoderConfig())
    ids = tokenizer("A photo of 2 cats, naïve!")["input_ids"]
    assert (len(tokenizer), ids[0], ids[-1]) == (49408, 49406, 49407)
    # From the paper's own tokenizer, simple_tokenizer.py.
    assert tokenizer("a photo of a cat")["input_ids"][1:-1] == [320, 1125, 539, 320, 2368]


def test_the_bundled_vocabulary_is_that_of_its_merges():
    vocab = json.loads((CLIP_TOKENIZER / "vocab.json").read_text("utf-8"))
    merges = (CLIP_TOKENIZER / "merges.txt").read_text("utf-8").splitlines()[1:]
    assert len(merges) == 48_894
    assert [vocab[merge.replace(" ", "")] for merge in merges] == list(range(512, 49_406))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"special_tokens_map.json": {"pad_token": "<|endoftext|>"}}, None),
        ({"special_tokens_map.json": {"pad_token": "!"}, "vocab.json": {"!": 0}}, 0),
        (
            {
                "tokenizer_config.json": {"pad_token": {"content": "!"}},
                "tokenizer.json": {"model": {"vocab": {"!": 7}}},
            },
            7,
        ),
    ],
)
def test_the_padding_is_read_from_a_tokenizers_folder(tmp_path, files, found):
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    assert padding_id(tmp_path) == found


def test_padding_outside_the_vocabulary_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "?"}')
    with pytest.raises(CheckpointError, match=r"'\?', is not in the vocabulary"):
        padding_id(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"vocab": 3, "merges": []}', '{"vocab": {}, "merges": [3]}']
)
def test_a_damaged_tokenizer_inside_a_file_is_refused(text, config):
    with pytest.raises(CheckpointError, match="damaged"):
        find_tokenizer(None, text, config.text_encoder)


def test_a_model_without_a_tokenizer_cannot_be_saved():
    with pytest.raises(CheckpointError, match="no tokenizer"):
        tokenizer_text(None)
