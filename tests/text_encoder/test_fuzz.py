import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "fuzz_of_prompts", Path(__file__).with_name("fuzz.py")
)
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)


def test_random_prompts_are_tokenized_and_read_back_from_the_parameters(tokenizer):
    assert fuzz.fuzz(tokenizer, count=500, seed=1) == {}


def test_the_same_seed_gives_the_same_prompts():
    first, again, other = (fuzz.prompts(seed) for seed in (1, 1, 2))
    rows = [[next(source) for _ in range(50)] for source in (first, again, other)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("prompt", ["a", "a" * 2**21], ids=["valid", "refused"])
def test_a_valid_prompt_and_a_refused_one_are_no_failure(tokenizer, prompt):
    assert fuzz.failure(tokenizer, prompt) == ""


def test_an_error_of_another_type_is_a_failure(tokenizer, monkeypatch):
    def fails(*arguments, **options):
        raise KeyError("a bug")

    monkeypatch.setattr(fuzz, "tokenize", fails)
    assert fuzz.failure(tokenizer, "a") == "KeyError: \"'a bug'\""
