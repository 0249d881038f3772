r"""Prompts from prompts: variants, wildcards, a language model; and how a prompt is read.

syntax.py      a template `{red|blue} __thing__` -> its parts
wildcards.py   a folder of text files -> the entries that `__thing__` stands for
variants.py    template, seed -> prompts
"""

from labml_sd.prompt_tools.variants import prompt_variants

__all__ = ["prompt_variants"]
