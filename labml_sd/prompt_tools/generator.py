r"""A language model continues a prompt.

Maps       a prompt, a causal language model -> longer prompts
Paper      Fan et al. 2018, arXiv:1805.04833, section 5 (sampling from the k likeliest tokens)
Reference  transformers' AutoModelForCausalLM and AutoTokenizer, which are used here
Tests      tests/prompt_tools/test_generator.py
"""

import math
import re
from collections.abc import Callable
from os import PathLike

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import PromptError, quoted
from labml_sd.prompt_tools.language_model import LanguageModel, load_language_model
from labml_sd.utilities.numbers import real_number, whole_number

MAX_PROMPTS = 1000  # of one call
MAX_TOKENS = 1000
TRIES = 5  # for each prompt, until it differs from the others


def generate_prompts(
    prompt: str,
    *,
    model: str | PathLike[str] | LanguageModel,
    n: int = 1,
    seed: int = 0,
    max_tokens: int = 60,
    temperature: float | int = 1.0,
    top_k: int = 50,
) -> list[str]:
    r"""Prompts that begin with `prompt` and that a language model continues, no two the same.

    `model` is the folder or hub id of a causal language model, GPT-2 for example, or what
    `load_language_model` returns. Up to `max_tokens` tokens are added; a line break or the
    model's end marker ends a prompt earlier. Each token is drawn from the `top_k` likeliest
    (0: from all) with the probabilities softmax(logits / `temperature`); 0 takes the likeliest.

    The model runs on the CPU in float32, and the draws are those of a generator of the seed:
    the same arguments give the same prompts on the same machine. PromptError if the model
    gives too few different ones, CheckpointError for a model that cannot be used.
    """
    if not isinstance(prompt, str):
        raise PromptError(f"prompt is of type {type(prompt).__name__}: give a text")
    count = _whole("n", n, 1, MAX_PROMPTS)
    seed = _whole("seed", seed, 0, 2**64 - 1)
    length = _whole("max_tokens", max_tokens, 1, MAX_TOKENS)
    heat, k = real_number(temperature), _whole("top_k", top_k, 0, 10**9)
    if heat is None or not 0 <= heat < math.inf:
        raise PromptError(f"temperature is {quoted(temperature)}: give a number, at least 0")
    loaded = model if isinstance(model, LanguageModel) else load_language_model(model)
    ids = loaded.ids(prompt)

    def text(source: torch.Generator) -> str:
        more = _continued(loaded, ids, length, lambda logits: draw(logits, heat, k, source))
        return (prompt + more if prompt else more.lstrip()).rstrip().rstrip(" ,;")

    found: dict[str, None] = {}
    for i in range(count * TRIES if heat > 0 else 1):
        # Try i has its own generator, so prompt i does not depend on the length of others.
        longer = text(torch.Generator("cpu").manual_seed((seed + i) % 2**64))
        if len(longer) > len(prompt.rstrip()):
            found[longer] = None
        if len(found) == count:
            return list(found)
    raise PromptError(
        f"{loaded.name} gave only {len(found)} different prompts of {count}: ask for fewer, or "
        "give a higher temperature or more tokens"
    )


def draw(
    logits: Float[Tensor, " v"],
    temperature: float | int,
    top_k: int,
    generator: torch.Generator,
) -> int:
    """A token by its probability, among the `top_k` likeliest (0: all)."""
    if temperature == 0:
        return int(logits.argmax())
    wide = logits.double()
    if 0 < top_k < len(wide):
        least = wide.topk(top_k).values[-1]
        wide = wide.masked_fill(wide < least, -math.inf)
    # The largest is 0 before the division, so that no temperature gives Inf.
    p = ((wide - wide.max()) / temperature).softmax(dim=0)
    return int(torch.multinomial(p, 1, generator=generator))


def _continued(
    model: LanguageModel,
    ids: list[int],
    max_tokens: int,
    choose: Callable[[Float[Tensor, " v"]], int],
) -> str:
    """The text of the tokens that follow, up to a line break or the end marker."""
    new: list[int] = []
    text, state = "", None
    for _ in range(min(max_tokens, model.n_positions - len(ids))):
        logits, state = model.next(new[-1:] or ids, state)
        token = choose(logits)
        if token in model.ends:
            break
        new.append(token)
        text, *later = re.split(r"[\r\n]", model.text_after(ids, new), maxsplit=1)
        if later:
            break
    return text.rstrip("\ufffd")  # a character of which only some bytes were drawn


def _whole(name: str, value: object, low: int, high: int) -> int:
    number = whole_number(value)
    if number is None or not low <= number <= high:
        raise PromptError(f"{name} is {quoted(value)}: give a whole number, {low} to {high:,}")
    return number
