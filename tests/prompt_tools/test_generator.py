"""A language model continues prompts: by the seed, never twice the same, within its length."""

import inspect
import math

import pytest
import torch

from labml_sd.errors import PromptError
from labml_sd.prompt_tools import generate_prompts, load_language_model
from labml_sd.prompt_tools.generator import TRIES, draw


@pytest.fixture(scope="module")
def model(gpt2):
    return load_language_model(gpt2)


def test_the_same_seed_gives_the_same_prompts(model, gpt2):
    three = generate_prompts("a red house", model=model, n=3, seed=5)
    assert generate_prompts("a red house", model=gpt2, n=3, seed=5) == three
    assert generate_prompts("a red house", model=model, n=2, seed=5) == three[:2]
    assert generate_prompts("a red house", model=model, n=3, seed=50) != three
    torch.manual_seed(1)
    assert generate_prompts("a red house", model=model, n=3, seed=5) == three


def test_prompts_begin_with_the_prompt_and_all_differ(model):
    found = generate_prompts("a red house,", model=model, n=20)
    assert len(set(found)) == 20
    assert all(text.startswith("a red house,") and len(text) > 12 for text in found)
    assert all(text == text.strip() and text[-1] not in ",;" for text in found)


def test_an_empty_prompt_is_begun(model):
    (text,) = generate_prompts("", model=model)
    assert text and text == text.strip()


def test_a_line_break_and_the_end_marker_end_a_prompt(model):
    found = generate_prompts("a", model=model, n=50, max_tokens=30)
    assert not any("\n" in text or "<end>" in text for text in found)
    assert len({len(text.split()) for text in found}) > 5


def test_lengths_are_limited(model):
    found = generate_prompts("a red", model=model, n=20, max_tokens=2)
    assert max(len(text.split()) for text in found) == 4
    full = " ".join(["a"] * 31)
    assert generate_prompts(full, model=model, seed=2, max_tokens=9)[0].startswith(full + " ")
    with pytest.raises(PromptError, match=r"has 32 tokens, and .* reads 32: shorten it"):
        generate_prompts(full + " a", model=model)


def test_temperature_0_takes_the_likeliest_token(model):
    one = generate_prompts("a red house", model=model, temperature=0, max_tokens=3)
    assert one == generate_prompts(
        "a red house", model=model, temperature=0, seed=9, max_tokens=3
    )
    assert one == generate_prompts("a red house", model=model, top_k=1, seed=4, max_tokens=3)


def test_too_few_different_prompts_are_an_error(model):
    with pytest.raises(PromptError, match="only 1 different prompts of 3: ask for fewer"):
        generate_prompts("a red house", model=model, n=3, top_k=1, max_tokens=3)
    with pytest.raises(PromptError, match="only 1 different"):
        generate_prompts("a red house", model=model, n=2, temperature=0, max_tokens=3)
    assert TRIES > 1


def test_wrong_arguments_are_prompt_errors(model):
    generate = inspect.unwrap(generate_prompts)  # without the check of types that tests have
    for name, wrong in [
        *(("n", 0), ("n", 1001), ("n", "2"), ("seed", -1), ("seed", 2**64), ("seed", 0.5)),
        *(("max_tokens", 0), ("max_tokens", True), ("top_k", -1), ("top_k", 1.5)),
        *(("temperature", -1), ("temperature", math.nan), ("temperature", "1")),
    ]:
        with pytest.raises(PromptError, match=f"{name} is"):
            generate("a", model=model, **{name: wrong})
    with pytest.raises(PromptError, match="prompt is of type int"):
        generate(3, model=model)


def test_draws_follow_the_probabilities():
    logits = torch.tensor([0.0, math.log(2), math.log(5), -math.inf])
    source = torch.Generator().manual_seed(0)

    def shares(temperature, k):
        drawn = [draw(logits, temperature, k, source) for _ in range(4000)]
        return [drawn.count(i) / 4000 for i in range(4)]

    assert shares(1, 0) == pytest.approx([1 / 8, 2 / 8, 5 / 8, 0], abs=0.03)
    assert shares(1, 2) == pytest.approx([0, 2 / 7, 5 / 7, 0], abs=0.03)
    assert shares(0.5, 0) == pytest.approx([1 / 30, 4 / 30, 25 / 30, 0], abs=0.03)
    assert shares(0, 0) == shares(1e-9, 0) == [0, 0, 1, 0]
