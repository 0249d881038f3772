r"""The commands that draw: txt2img, img2img and inpaint.

Maps       parsed arguments -> pictures in a folder, their paths on standard output
Tests      tests/cli/test_main.py
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from labml_sd.checkpoint import load_model
from labml_sd.errors import GenerationError, ImageError, PromptError, one_line
from labml_sd.images.parameters import write_entries
from labml_sd.images.reading import open_layers
from labml_sd.images.tensors import save_images
from labml_sd.images.writing import check_folder
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.parameters import read_parameters
from labml_sd.settings import described
from labml_sd.utilities.interrupt import Interrupt

_MAX_PROMPTS = 2**24  # bytes of a file of prompts


def txt2img_command(args: argparse.Namespace) -> None:
    """Draw from a prompt, or draw a picture again from the parameters inside it."""
    if args.from_image is not None:
        _redraw(args)
        return
    prompts = _prompts(args)
    _draw(txt2img, args, _model(args), prompts)


def _redraw(args: argparse.Namespace) -> None:
    """Draw the picture of --from-image again; flags replace its parameters."""
    drawn = read_parameters(args.from_image, max_pixels=args.max_pixels)
    if drawn.task != "txt2img":
        raise GenerationError(
            f"{args.from_image} was drawn by {drawn.task}: "
            "--from-image draws txt2img pictures again"
        )
    if args.model is None and drawn.model not in (None, "tiny"):
        raise GenerationError(
            f"{args.from_image} was drawn by model {drawn.model}: give its file as --model"
        )
    args.dtype = drawn.dtype if drawn.dtype and args.dtype == "auto" else args.dtype
    model = _model(args)
    if drawn.unused:
        left_out = write_entries(drawn.unused)
        _note(f"labml-sd: warning: what {drawn.tool} did and is not done here: {left_out}")
    here = model.weights_hash or "not from a file"
    if drawn.model_hash and drawn.model_hash != here:
        _note(f"labml-sd: warning: drawn by model {drawn.model_hash}, this is {here}")
    _draw(txt2img, args, model, _prompts(args, drawn.prompt), recorded=drawn.settings)


def img2img_command(args: argparse.Namespace) -> None:
    """Draw a picture again under a prompt."""
    prompts = _prompts(args)
    missing = "img2img needs a picture to start from: give --init-image FILE"
    image = _opened(args, args.init_image, missing)
    _draw(img2img, args, _model(args), prompts, image)


def inpaint_command(args: argparse.Namespace) -> None:
    """Draw the white part of a mask again."""
    prompts = _prompts(args)
    missing = "inpaint needs the picture to repair: give --init-image FILE"
    image = _opened(args, args.init_image, missing)
    missing = "inpaint needs a mask, white where it should paint: give --mask FILE"
    mask = _opened(args, args.mask, missing)
    _draw(inpaint, args, _model(args), prompts, image, mask)


def _prompts(args: argparse.Namespace, otherwise: str | None = None) -> str | list[str]:
    """The prompt that was given, or those of a file."""
    given = [p for p in (args.prompt, args.prompt_flag, args.prompt_file) if p is not None]
    if len(given) > 1:
        raise PromptError(
            "more than one prompt was given: use PROMPT, or --prompt, or --prompt-file"
        )
    if args.prompt_file is not None:
        return _lines(args.prompt_file)
    prompt: str | None = given[0] if given else otherwise
    if prompt is None:
        raise PromptError(
            "no prompt was given: write it after the command, "
            'as in labml-sd txt2img "a red house"'
        )
    return prompt


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


def _opened(args: argparse.Namespace, path: str | None, message: str) -> Image.Image:
    """A picture with its opacity, which says something in a mask."""
    if path is None:
        raise ImageError(message)
    return open_layers(path, max_pixels=args.max_pixels)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags; the others are left to the pipeline's defaults."""
    names = [*described(), "strength"]
    return {name: vars(args)[name] for name in names if vars(args).get(name) is not None}


def _model(args: argparse.Namespace) -> LatentDiffusion:
    given = {name: getattr(args, name) for name in ("device", "dtype", "tokenizer", "compile")}
    return load_model(args.model or "tiny", **given)


def _draw(
    pipeline: Callable[..., list[Image.Image]],
    args: argparse.Namespace,
    *inputs: object,
    recorded: Mapping[str, Any] | None = None,
) -> None:
    """Run a pipeline, save the pictures and print their paths; print a seed that it chose."""
    check_folder(args.outdir)
    # The shell draws a random seed by default, where the pipelines always take the same.
    settings = {"seed": None, **(recorded or {}), **_settings(args)}
    images = pipeline(*inputs, **settings, progress=sys.stderr.isatty())
    if settings["seed"] is None:
        _note(f"seed {read_parameters(images[0]).seed}")
    for image in images:  # one at a time: if the disk fills up, the saved paths are printed
        with Interrupt() as interrupt:
            _print_path(*save_images([image], args.outdir))
        if interrupt.asked:
            raise KeyboardInterrupt


def _print_path(path: Path) -> None:
    """Print the bytes of a path where its text cannot be: a script opens what it reads."""
    try:
        str(path).encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    else:
        print(path)


def _note(text: str) -> None:
    """Print to standard error: scripts read the paths from standard output."""
    print(one_line(text), file=sys.stderr)
