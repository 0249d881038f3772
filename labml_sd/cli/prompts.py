r"""What a command draws from: prompts, and the pictures of a folder.

Maps       parsed arguments -> a list of prompts; a folder -> the paths of its pictures
Tests      tests/cli/test_main.py, tests/cli/test_lists.py
"""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from labml_sd.cli.processes import rank_and_count
from labml_sd.errors import ImageError, PromptError
from labml_sd.prompt_tools.variants import prompt_variants
from labml_sd.prompt_tools.wildcards import Wildcards

_MAX_PROMPTS = 2**24  # bytes of a file of prompts
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def read_prompts(args: argparse.Namespace, otherwise: str | None = None) -> list[str]:
    """The prompt that was given, or those of a file. Raises `PromptError`."""
    given = [p for p in (args.prompt, args.prompt_flag, args.prompt_file) if p is not None]
    if len(given) > 1:
        raise PromptError(
            "more than one prompt was given: use PROMPT, or --prompt, or --prompt-file"
        )
    if args.prompt_file is not None:
        if args.prompt_file == "-" and rank_and_count() != (0, 1):
            raise PromptError(
                "several processes cannot read one standard input: "
                "write the prompts to a file and give it as --prompt-file"
            )
        return _lines(args.prompt_file)
    prompt: str | None = given[0] if given else otherwise
    if prompt is None:
        raise PromptError(
            "no prompt was given: write it after the command, "
            'as in labml-sd txt2img "a red house"'
        )
    return [prompt]


def varied(args: argparse.Namespace, prompts: Sequence[str], seed: int) -> list[str]:
    """The variants of each prompt that --variants asks for; without it the same prompts.

    Raises `PromptError`.
    """
    if args.variants is None:
        if args.wildcards is not None:
            raise PromptError("--wildcards is the folder of --variants: give --variants N too")
        return list(prompts)
    folder = None if args.wildcards is None else Wildcards(args.wildcards)
    found: list[str] = []
    for prompt in prompts:
        if args.variants == "all":
            found += prompt_variants(prompt, wildcards=folder, combinatorial=True)
        else:
            n, first = args.variants, len(found)
            found += prompt_variants(prompt, n, seed=seed, wildcards=folder, first=first)
    return found


def _lines(path: str) -> list[str]:
    """One prompt from every line that is not empty; "-" is standard input."""
    source, path = (0, "standard input") if path == "-" else (path, path)
    try:
        with open(source, "rb", closefd=source != 0) as file:  # a device has no end
            content = file.read(_MAX_PROMPTS + 1)
        if len(content) > _MAX_PROMPTS:
            raise PromptError(
                f"{path} is longer than {_MAX_PROMPTS:,} bytes: divide it into several files"
            )
        text = content.decode("utf-8-sig")  # Windows editors put a byte order mark first
    except UnicodeDecodeError as error:
        raise PromptError(f"cannot read the prompts in {path}: it is not UTF-8 text") from error
    except (OSError, ValueError) as error:  # ValueError: not a path at all
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"cannot read the prompts in {path}: {reason}") from error
    # `splitlines` would also end a line at U+2028 and other characters that editors show.
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if not lines:
        raise PromptError(f"{path} holds no prompt: write one on each line")
    return lines


def pictures_in(folder: Path, outdir: str) -> list[Path]:
    """The PNG, JPEG and WEBP files of a folder, sorted by name, without hidden ones.

    Raises `ImageError`, also if the new pictures would be saved among them.
    """
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise ImageError(f"{folder} cannot be read ({error.strerror})") from error
    pictures = [path for path in paths if not path.name.startswith(".")]
    if not pictures:
        raise ImageError(f"{folder} holds no PNG, JPEG or WEBP picture: give another folder")
    if os.path.realpath(folder) == os.path.realpath(Path(outdir).expanduser()):
        raise ImageError(
            f"{folder} would get the new pictures too: give another folder as --outdir"
        )
    return pictures
