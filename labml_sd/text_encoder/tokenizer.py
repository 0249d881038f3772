r"""Tokenizer: text to token ids.

Maps       list[str]  ->  token ids [b 77]
Paper      Sennrich et al. 2016, arXiv:1508.07909 (byte-pair encoding)
Reference  transformers' CLIPTokenizer, which is used here
Tests      tests/text_encoder/test_tokenizer.py
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from labml_sd.errors import CheckpointError, PromptError

T = TypeVar("T")

FORMS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # of today's writers, of older ones
START, END = "<|startoftext|>", "<|endoftext|>"
MAX_BYTES = 2**20  # of one prompt, in UTF-8
_READ = 2**13  # characters that are tokenized: 75 tokens of a CLIP tokenizer are shorter
_READ_IN_CHUNKS = 2**16  # characters of a prompt that is encoded in chunks of 75 tokens
_QUOTED = 1000  # characters of the part cut off that a warning quotes
# Whitespace: the tokenizer treats any number of these as one space.
_SPACES = re.compile(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def load_tokenizer(folder: str | PathLike[str]) -> Any:
    """Load transformers' CLIPTokenizer from a folder, without network access.

    It has `tokenizer.json`, or `vocab.json` and `merges.txt`. Raises CheckpointError if neither
    is there, or a file is damaged.
    """
    there = [all((Path(folder) / name).is_file() for name in form) for form in FORMS]
    if not any(there):
        raise CheckpointError(
            f"{folder}: no tokenizer.json, and no vocab.json with merges.txt; "
            "give the folder of a CLIP tokenizer"
        )
    from transformers import CLIPTokenizer  # imported here because it takes most of a second

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{folder}: the tokenizer files cannot be read ({reason}); copy them again"
        ) from error


def save_tokenizer(
    folder: str | PathLike[str],
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    n_positions: int = 77,
    pad_id: int | None = None,
) -> None:
    """Write the four files of a CLIP tokenizer folder, as other tools also read it.

    Prompts are padded with token `pad_id`; None: with end markers.
    """
    pad = next(word for word, i in vocab.items() if i == pad_id) if pad_id is not None else END
    special = {"bos_token": START, "eos_token": END, "pad_token": pad, "unk_token": END}
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
    """One or several prompts as a list. Raises PromptError, naming `what`, if not text.

    So does a text of more than `MAX_BYTES`, which could not be stored in a picture.
    """
    listed = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(listed, list | tuple):
        raise PromptError(
            f"{what} is of type {type(prompts).__name__}: give a text or a list of texts"
        )
    if not listed:
        raise PromptError(f'{what} is an empty list: give at least one text, "" for no words')
    for text in listed:
        if not isinstance(text, str):
            raise PromptError(
                f"{what} holds an item of type {type(text).__name__}: give texts only"
            )
        if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise PromptError(
                f"{what} is longer than {MAX_BYTES:,} bytes: a model reads some 4,000 words"
            )
    return list(listed)


def tokenize(
    tokenizer: Any,
    prompts: str | list[str],
    *,
    n_positions: int,
    bos_id: int,
    eos_id: int,
    pad_id: int | None = None,
) -> Int[Tensor, "b n"]:
    """Start marker, text tokens, end marker, padding: `n_positions` ids.

    The padding is `pad_id`; None: more end markers.

    A prompt that is too long is cut, and a warning quotes the part cut off. Raises PromptError
    for anything but text.
    """
    rows = []
    for prompt in check_prompts(prompts):
        text, n_unread = _beginning(prompt, _READ)
        ids = plain_ids(tokenizer, text)
        n_free = n_positions - 2
        if len(ids) > n_free or n_unread:
            warnings.warn(cut_off(tokenizer, ids[n_free:], n_unread), stacklevel=3)
        rows.append(framed(ids[:n_free], n_positions, bos_id, eos_id, pad_id))
    return torch.tensor(rows, dtype=torch.long, device="cpu")


def framed(tokens: Sequence[T], n: int, bos: T, eos: T, pad: T | None) -> list[T]:
    """Start marker, tokens, end marker, then padding to `n`; None: with end markers."""
    row = [bos, *tokens, eos]
    return row + [eos if pad is None else pad] * (n - len(row))


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text, without markers: one that spells out a marker does not become one."""
    plain = _plain(text, tokenizer)
    ids = tokenizer(plain, add_special_tokens=False, truncation=False, verbose=False)
    return list(ids["input_ids"])


def readable(prompt: str) -> str:
    """A prompt, or its first 65,536 characters and a warning."""
    text, n_unread = _beginning(prompt, _READ_IN_CHUNKS)
    if n_unread:
        lost = _quoted("", n_unread)
        warnings.warn(f"the prompt is too long; cut off: {lost}", stacklevel=3)
    return text


def cut_off(tokenizer: Any, ids: list[int], n_unread: int = 0) -> str:
    """The warning about tokens that are cut off, and `n_unread` characters after them."""
    # a character of several bytes may be cut in two: its rest cannot be shown
    lost = _quoted(tokenizer.decode(ids).lstrip("\ufffd").strip(), n_unread)
    count = f"{'more than ' if n_unread else ''}{len(ids)}"
    return f"the prompt is {count} tokens too long; cut off: {lost}"


def trimmed(ids: Int[Tensor, "b n"], eos_id: int) -> Int[Tensor, "b longest"]:
    """Ids up to the end of the longest prompt: under the causal mask, padding is inert."""
    longest = int((ids != eos_id).sum(dim=1).max()) + 1
    return ids[:, :longest]


def _beginning(prompt: str, n: int) -> tuple[str, int]:
    """The first n characters of a prompt, and the number of characters after them.

    A tokenizer processes a whole text even if few tokens are used, which takes seconds for a
    megabyte.
    """
    if len(prompt) <= n:
        return prompt, 0
    text = _SPACES.sub(" ", prompt).strip(" ")
    return text[:n], max(0, len(text) - n)


def _quoted(lost: str, n_unread: int) -> str:
    """The part cut off, or its beginning and the number of further characters."""
    n_more = max(0, len(lost) - _QUOTED) + n_unread
    return f"{lost[:_QUOTED]!r}" + (f" and {n_more:,} more characters" if n_more else "")


def _plain(prompt: str, tokenizer: Any) -> str:
    """Break up special tokens that are spelt out in a text, and replace invalid Unicode.

    The two halves of a surrogate pair become their character, as when read from a picture.
    """
    prompt = prompt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    for special in tokenizer.all_special_tokens:
        prompt = prompt.replace(special, special.replace("|", " | "))
    return prompt.encode("utf-8", "replace").decode("utf-8")
