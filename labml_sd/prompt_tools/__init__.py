r"""Prompts from prompts: variants, wildcards, a language model; and how a prompt is read.

syntax.py          a template `{red|blue} __thing__` -> its parts
wildcards.py       a folder of text files -> the entries that `__thing__` stands for
variants.py        template, seed -> prompts
language_model.py  folder or hub id -> a causal language model
generator.py       prompt, language model, seed -> longer prompts
reading.py         prompt, tokenizer -> what holds at which step, chunks, tokens, weights
"""

from labml_sd.prompt_tools.generator import generate_prompts
from labml_sd.prompt_tools.language_model import LanguageModel, load_language_model
from labml_sd.prompt_tools.reading import PromptReading, prompt_reading
from labml_sd.prompt_tools.variants import prompt_variants
from labml_sd.prompt_tools.wildcards import Wildcards

__all__ = ["LanguageModel", "PromptReading", "Wildcards"]
__all__ += ["generate_prompts", "load_language_model", "prompt_reading", "prompt_variants"]
