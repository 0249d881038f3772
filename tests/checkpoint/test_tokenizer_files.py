import json

import pytest

from labml_sd.checkpoint import tokenizer_files
from labml_sd.checkpoint.tokenizer_files import find_tokenizer, tokenizer_text, write_tokenizer
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


def test_sd_v1_takes_clips_tokenizer_from_the_hub(words, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "fetch_tokenizer", lambda: words)
    with pytest.raises(CheckpointError, match="516 entries, the text encoder expects 49408"):
        find_tokenizer(None, None, TextEncoderConfig())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"vocab": 3, "merges": []}', '{"vocab": {}, "merges": [3]}']
)
def test_a_damaged_tokenizer_inside_a_file_is_refused(text, config):
    with pytest.raises(CheckpointError, match="damaged"):
        find_tokenizer(None, text, config.text_encoder)


def test_a_model_without_a_tokenizer_cannot_be_saved():
    with pytest.raises(CheckpointError, match="no tokenizer"):
        tokenizer_text(None)
