r"""The command line: `labml-sd txt2img "a red house in the snow at night"`.

The commands are imported when they run, and PyTorch with them, so that --help answers at once.

Maps       arguments -> results on standard output; exit code 0, 2 (error) or 130 (Ctrl-C)
Tests      tests/cli/test_main.py
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

import labml_sd
from labml_sd.cli.flags import (
    SIDES,
    add_drawing,
    add_flag,
    add_init_image,
    add_max_pixels,
    add_prompt_tools,
)
from labml_sd.errors import LabmlSdError, one_line

_OUT_OF_MEMORY = (
    "out of memory",
    "allocate memory",
    "failed to map segment",  # while a library is imported
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Every error is one line on standard error."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    before, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        _check_current_folder()
        parser = _build_parser(_training(arguments))
        args, unknown = parser.parse_known_args(arguments)
        if unknown:
            args.parser.error(_unrecognized(unknown))
        module, function = args.run.split(".")
        getattr(import_module(f"labml_sd.cli.{module}"), function)(args)
        sys.stdout.flush()
        return 0
    except LabmlSdError as error:
        return _fail(str(error))
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", 130)
    except BrokenPipeError:  # the reader of our output ended: `labml-sd env | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _fail(_unforeseen(error))
    finally:
        warnings.showwarning = before


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage text before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"labml-sd: error: {message} (see {self.prog} --help)\n")


def _check_current_folder() -> None:
    """PyTorch cannot be imported in a folder that was deleted: MKL ends the process."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise LabmlSdError("the current folder was deleted: change to another one") from error


def _unrecognized(words: Sequence[str]) -> str:
    quotes = '; a prompt of several words needs quotes, as in "a red house"'
    return f"unrecognized arguments: {' '.join(words)}{'' if words[0][0] == '-' else quotes}"


def _fail(message: str, code: int = 2) -> int:
    print(f"labml-sd: error: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return code


def _unforeseen(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return "out of memory: make fewer or smaller pictures, or use --dtype float16"
    if isinstance(error, OSError):
        return text
    return f"{text}; this is a fault of labml_sd, please report it"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"labml-sd: warning: {one_line(' '.join(str(message).split()))}", file=sys.stderr)


def _training(arguments: Sequence[str]) -> str | None:
    """The module of a command that trains; None for the other commands."""
    if arguments[:1] != ["train"]:
        return None
    return "train_embedding" if arguments[1:2] == ["embedding"] else "train"


def _build_parser(training: str | None) -> argparse.ArgumentParser:
    """All commands and their flags. Those of `training` import PyTorch: only on request."""
    text = "Stable Diffusion as a small annotated package."
    parser = _Parser(prog="labml-sd", description=text, allow_abbrev=False)
    shown = f"labml-sd {labml_sd.__version__}"
    parser.add_argument("--version", action="version", version=shown, help="show the version")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )

    def add(name: str, text: str, run: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run, parser=command)
        return command

    _add_drawing_commands(add)
    help = "train the tiny model from scratch, or an embedding: train embedding --help"
    train = add("train", help, f"{training or 'train'}.run")
    if training:
        import_module(f"labml_sd.cli.{training}").add_arguments(train)
    prompt = add(
        "prompt", "show how a prompt is read, or vary it", "show_prompt.prompt_command"
    )
    add_prompt_tools(prompt)
    inspect = add("inspect", "show what a picture or a model holds", "show.inspect_command")
    help = "a picture, a checkpoint file or a model folder"
    inspect.add_argument("file", metavar="FILE", help=help)
    add_max_pixels(inspect)
    add("env", "show versions and devices", "show.env_command")
    return parser


def _add_drawing_commands(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    txt2img = add("txt2img", "draw pictures of a prompt", "draw.txt2img_command")
    add_drawing(txt2img, "txt2img")
    help = "draw a picture again from the parameters inside it"
    add_flag(txt2img, "--from-image", help=help, metavar="PICTURE")
    img2img = add("img2img", "draw a picture again under a prompt", "draw.img2img_command")
    add_drawing(img2img, "img2img")
    add_init_image(img2img, default_strength="0.75")
    inpaint = add("inpaint", "draw the white part of a mask again", "draw.inpaint_command")
    add_drawing(inpaint, "inpaint")
    add_init_image(inpaint, default_strength="1")
    help = "picture of the same size: white is redrawn"
    add_flag(inpaint, "--mask", "--mask-image", help=help, metavar="FILE")
    outpaint = add("outpaint", "continue a picture", "draw.outpaint_command")
    add_drawing(outpaint, "outpaint")
    add_init_image(outpaint, default_strength="1")
    for side in SIDES:
        help = f"pixels to add at the {side} (0)"
        add_flag(outpaint, f"--{side}", help=help, type=int, metavar="N", default=0)
