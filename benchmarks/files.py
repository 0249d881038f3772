"""The files that loading is measured on: SD v1 with random weights in each layout, kept.

Some 15 GB in all; each is made when a cell first needs it and has the size of the real one. So
has the tokenizer, whose 49,408 tokens are arbitrary pieces.
"""

from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from networks import PARTS, our_model
from safetensors import safe_open
from safetensors.torch import save_file

from labml_sd.checkpoint import save_model
from labml_sd.config import sd_v1
from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.training.learn_bpe import END_OF_WORD, byte_symbols


@cache
def tokenizer(files: Path) -> Any:
    """A CLIP tokenizer of the real size."""
    return load_tokenizer(tokenizer_folder(files))


def tokenizer_folder(files: Path) -> Path:
    """The tokenizer's folder; single files contain none."""
    folder = files / "tokenizer"
    if not (folder / "special_tokens_map.json").exists():
        letters = list(byte_symbols().values())
        singles = [*letters, *(letter + END_OF_WORD for letter in letters)]
        n_merges = sd_v1().text_encoder.vocab_size - len(singles) - 2
        merges = list(islice(product(letters, singles), n_merges))
        tokens = [*singles, *(a + b for a, b in merges), "<|startoftext|>", "<|endoftext|>"]
        save_tokenizer(folder, {token: i for i, token in enumerate(tokens)}, merges)
    return folder


def single_file(files: Path) -> Path:
    """CompVis layout in float32, 4.3 GB."""
    path = files / "v1_float32.safetensors"
    if not path.exists():
        _save(path, files, "compvis")
    return path


def folder(files: Path) -> Path:
    """diffusers layout in float32, 4.3 GB."""
    path = files / "v1_float32"
    if not path.exists():
        _save(path, files, "diffusers")
    return path


def _save(path: Path, files: Path, layout: str) -> None:
    save_model(
        our_model(PARTS, torch.float32, torch.device("cpu"), tokenizer(files)), path, layout
    )


def half_file(files: Path) -> Path:
    """CompVis layout in float16, 2.1 GB."""
    path = files / "v1_float16.safetensors"
    if not path.exists():
        tensors, metadata = _read(single_file(files))
        _write(
            path,
            lambda new: save_file({k: t.half() for k, t in tensors.items()}, new, metadata),
        )
    return path


def pickle_file(files: Path) -> Path:
    """CompVis layout as torch.save writes it, float32, 4.3 GB."""
    path = files / "v1_float32.ckpt"
    if not path.exists():
        tensors, _ = _read(single_file(files))
        _write(path, lambda new: torch.save({"state_dict": tensors}, new))
    return path


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def _write(path: Path, write: Any) -> None:
    """A file has its name only when it is complete."""
    new = path.with_suffix(".new")
    write(new)
    new.replace(path)


def warm(path: Path) -> None:
    """Read the file or folder once, so that it is in the page cache."""
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass
