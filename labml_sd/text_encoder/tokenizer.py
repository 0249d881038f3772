r"""Tokenizer: text becomes numbers.

Room       text_encoder, called by clip_embedder.py and the loaders
Maps       list[str]  ->  token ids [b 77]
Paper      Sennrich et al. 2016, arXiv:1508.07909 (byte-pair encoding)
Reference  transformers' CLIPTokenizer, used as it is
See        tests/text_encoder/test_tokenizer.py
"""

import json
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from labml_sd.errors import CheckpointError, PromptError

FILES = ("vocab.json", "merges.txt")
START, END = "<|startoftext|>", "<|endoftext|>"


def load_tokenizer(folder: str | PathLike[str]) -> Any:
    """Open a folder with `vocab.json` and `merges.txt`; no network. Returns transformers' CLIPTokenizer.

    Raises CheckpointError when a file is missing or damaged.
    """
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: no {' and no '.join(missing)}; give the folder of a CLIP tokenizer")
    from transformers import CLIPTokenizer  # takes most of a second, so only when it is needed

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{folder}: the tokenizer files cannot be read ({reason}); copy them anew"
        ) from error


def save_tokenizer(
    folder: str | PathLike[str],
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    n_positions: int = 77,
) -> None:
    """Write the four files of a CLIP tokenizer folder: what `load_tokenizer` and other tools open."""
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {
        "model_max_length": n_positions,
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": True,
        **special,
    }
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    files = {
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "\n".join(lines) + "\n",
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=2) + "\n",
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (Path(folder) / name).write_text(text, encoding="utf-8", newline="\n")


def check_prompts(prompts: object, what: str = "prompt") -> list[str]:
    """One prompt or several, as a list. Raises PromptError, calling them `what`, for all that is not text."""
    listed = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(listed, list | tuple):
        raise PromptError(f"{what} is of type {type(prompts).__name__}: give a text or a list of texts")
    if not listed:
        raise PromptError(f'{what} is an empty list: give at least one text, "" for no words')
    for text in listed:
        if not isinstance(text, str):
            raise PromptError(f"{what} holds an item of type {type(text).__name__}: give texts only")
    return list(listed)


def tokenize(
    tokenizer: Any, prompts: str | list[str], *, n_positions: int, bos_id: int, eos_id: int
) -> Int[Tensor, "b n"]:
    """Start mark, the words, end mark, padding: always `n_positions` ids. The padding is the end mark again.

    A prompt that is too long is cut; a warning quotes what was lost. Raises PromptError for what is not text.
    """
    rows = []
    for prompt in check_prompts(prompts):
        # The words alone: a prompt that spells out a special token must not become one.
        ids = tokenizer(_plain(prompt, tokenizer), add_special_tokens=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        room = n_positions - 2
        if len(ids) > room:
            lost = tokenizer.decode(ids[room:]).strip()
            warnings.warn(f"the prompt is {len(ids) - room} tokens too long; cut off: {lost!r}", stacklevel=3)
        row = [bos_id, *ids[:room], eos_id]
        rows.append(row + [eos_id] * (n_positions - len(row)))
    return torch.tensor(rows, dtype=torch.long)


def _plain(prompt: str, tokenizer: Any) -> str:
    """Break up special tokens that are typed as text, and replace what is no valid Unicode."""
    for special in tokenizer.all_special_tokens:
        prompt = prompt.replace(special, special.replace("|", " | "))
    return prompt.encode("utf-8", "replace").decode("utf-8")
