r"""The flags of the commands.

PyTorch is not imported here, so that --help and a wrong flag are answered at once.

Maps       an argument parser -> the parser with more flags
Tests      tests/cli/test_main.py
"""

import argparse
from collections.abc import Callable
from typing import Any

from labml_sd.settings import Setting, described

_DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "full": "float32",  # CompVis: --precision full or autocast
    "autocast": "auto",
}
SIDES = ("left", "top", "right", "bottom")  # of a picture that outpaint continues
_MAX_PIXELS = 2**24  # as in images/reading.py, which imports Pillow


def add_flag(
    parser: argparse.ArgumentParser, name: str, *aliases: str, help: str, **options: Any
) -> None:
    """Add a flag under several names, each with hyphens or with underscores.

    The help lists `name`, its short form, and the aliases after `help`.
    """
    short = [each for each in aliases if not each.startswith("--")]
    long = [name, *(each for each in aliases if each not in short)]
    also = f" (also {', '.join(long[1:])})" if long[1:] else ""
    underscored = ["--" + each[2:].replace("-", "_") for each in long]
    hidden = [each for each in dict.fromkeys([*long, *underscored]) if each != name]
    add: Callable[..., argparse.Action] = parser.add_argument
    action = add(name, *short, help=help + also, **options)
    if hidden:
        options |= {"default": argparse.SUPPRESS, "dest": action.dest}
        add(*hidden, help=argparse.SUPPRESS, **options)


def add_settings(parser: argparse.ArgumentParser, task: str) -> None:
    """Add the flags of all settings of a task. One that is not given stays None."""
    for about in described(task).values():
        _add_setting(parser, about)


def add_drawing(parser: argparse.ArgumentParser, task: str) -> None:
    """Add what all commands that draw share: prompt, settings, model and folder."""
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to draw")
    add_flag(parser, "--prompt", help="the prompt", dest="prompt_flag", metavar="PROMPT")
    help = "a UTF-8 file with one prompt a line, or - for standard input"
    add_flag(parser, "--prompt-file", "--from-file", help=help, metavar="FILE")
    add_variants(parser)
    add_settings(parser, task)
    help = "tiny, tiny-inpainting, a checkpoint, a folder or a hub id (tiny)"
    add_flag(parser, "--model", "--ckpt", help=help, metavar="MODEL")
    help = "a file or folder with another autoencoder (VAE)"
    add_flag(parser, "--vae", help=help, metavar="FILE")
    help = "what the U-Net predicts: eps or v (what the checkpoint says)"
    add_flag(parser, "--prediction", help=help, metavar="KIND")
    help = "tokenizer folder for a single-file checkpoint"
    add_flag(parser, "--tokenizer", help=help, metavar="FOLDER")
    help = "auto, cpu, cuda, cuda:1, mps (auto)"
    add_flag(parser, "--device", help=help, metavar="NAME", default="auto")
    help = "auto, float32, float16, bfloat16 (auto)"
    options: dict[str, Any] = {"metavar": "NAME", "default": "auto", "type": _dtype}
    add_flag(parser, "--dtype", "--precision", help=help, **options)
    help = "translate the U-Net with torch.compile first: slower start, faster steps"
    add_flag(parser, "--compile", help=help, action="store_true")
    help = "keep networks that are not running on the CPU, for GPUs with little memory"
    add_flag(parser, "--offload", help=help, action="store_true")
    help = "folder for the pictures (outputs)"
    options = {"metavar": "FOLDER", "default": "outputs"}
    add_flag(parser, "--outdir", "--output-dir", help=help, **options)
    help = "draw only what the folder does not hold yet of this list; needs its --seed"
    add_flag(parser, "--resume", help=help, action="store_true")
    add_max_pixels(parser)


def add_variants(parser: argparse.ArgumentParser) -> None:
    """Add what makes several prompts of one."""
    help = "N variants of each prompt with {red|blue} and __wildcard__, or all"
    add_flag(parser, "--variants", help=help, type=_number_or_all, metavar="N")
    help = "folder of text files: __colour__ in a prompt is a line of colour.txt"
    add_flag(parser, "--wildcards", help=help, metavar="FOLDER")


def add_prompt_tools(parser: argparse.ArgumentParser) -> None:
    """Add the prompt that is shown, or continued, and how."""
    parser.add_argument("prompt", metavar="PROMPT", help="the prompt")
    add_variants(parser)
    help = "seed of the variants and of what continues the prompt (0)"
    add_flag(parser, "--seed", help=help, type=int, metavar="N", default=0)
    help = "continue the prompt: folder or hub id of a causal language model, as GPT-2"
    add_flag(parser, "--continue", help=help, dest="continue_with", metavar="MODEL")
    help = "how many continued prompts, all different (1)"
    add_flag(parser, "--count", help=help, dest="n", type=int, metavar="N")
    help = "most tokens that are added (60)"
    add_flag(parser, "--max-tokens", help=help, type=int, metavar="N")
    help = "0 takes the likeliest token, 1 the model's probabilities (1)"
    add_flag(parser, "--temperature", help=help, type=float, metavar="X")
    help = "draw from the K likeliest tokens, 0 for all (50)"
    add_flag(parser, "--top-k", help=help, type=int, metavar="K")
    help = "whose tokens are shown: tiny, a checkpoint, a folder or a hub id (tiny)"
    add_flag(parser, "--model", "--ckpt", help=help, metavar="MODEL", default="tiny")
    for name in ("steps", "emphasis", "embeddings"):
        _add_setting(parser, described()[name])
    help = "read it as a negative prompt"
    add_flag(parser, "--as-negative", help=help, dest="negative", action="store_true")
    add_flag(parser, "--json", help="print JSON", action="store_true")


def add_init_image(parser: argparse.ArgumentParser, *, default_strength: str) -> None:
    """Add the picture that img2img and inpaint start from."""
    aliases = ("--init-img", "--image")
    help = "the picture to start from, in img2img also a folder of pictures"
    add_flag(parser, "--init-image", *aliases, help=help, metavar="FILE")
    help = f"0 keeps the picture, 1 redraws it ({default_strength})"
    options: dict[str, Any] = {"type": float, "metavar": "X"}
    add_flag(parser, "--strength", "--denoising-strength", help=help, **options)


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """Add the limit on pictures that are read."""
    help = f"most pixels of a picture that is read ({_MAX_PIXELS})"
    add_flag(parser, "--max-pixels", help=help, type=int, metavar="N", default=_MAX_PIXELS)


def _add_setting(parser: argparse.ArgumentParser, about: Setting) -> None:
    words = about.kind.metavar
    options: dict[str, Any] = {"metavar": words, "type": about.kind.word, "dest": about.name}
    if isinstance(words, tuple):
        options["nargs"] = len(words)
    if about.kind.several:
        options["action"] = "append"
    default = about.none or about.default
    help = f"{about.help} ({default})" if default not in ("", ()) else about.help
    add_flag(parser, *about.flags, help=help, **options)


def _number_or_all(word: str) -> int | str:
    return word if word == "all" else int(word)


_number_or_all.__name__ = "whole number"  # as argparse calls it in an error


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name)
