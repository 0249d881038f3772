r"""The command line: `labml-sd txt2img "a red house in the snow at night"`.

Maps       arguments -> pictures in a folder, their paths on standard output; exit code 0, 2 or 130 (Ctrl-C)
Tests      tests/cli/test_main.py
"""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from labml_sd.cli import start as cli_start
from labml_sd.errors import LabmlSdError, one_line

_DTYPES = {
    "full": "float32",
    "fp32": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
}
_DTYPES["autocast"] = "auto"  # CompVis: --precision full or autocast


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage text before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"labml-sd: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Every error is one line on standard error."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            args = _build_parser(with_train="train" in arguments[:1]).parse_args(arguments)
            run: Callable[[argparse.Namespace], None] = args.run
            run(args)
            sys.stdout.flush()
            return 0
        except LabmlSdError as error:
            return _fail(str(error))
        except KeyboardInterrupt as stop:
            return _fail(str(stop) or "interrupted", 130)
        except BrokenPipeError:  # the reader of our output went away: `labml-sd env | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except Exception as error:
            return _fail(_unforeseen(error))


def _fail(message: str, code: int = 2) -> int:
    print(f"labml-sd: error: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return code


def _unforeseen(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    words = (
        "out of memory",
        "allocate memory",
        "failed to map segment",
    )  # the last: of a library, imported
    if isinstance(error, MemoryError) or any(each in text for each in words):
        return "out of memory: make fewer or smaller pictures, or use --dtype float16"
    return (
        text
        if isinstance(error, OSError)
        else f"{text}; this is a fault of labml_sd, please report it"
    )


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"labml-sd: warning: {one_line(' '.join(str(message).split()))}", file=sys.stderr)


def _build_parser(with_train: bool) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="labml-sd", description="Stable Diffusion, built in the open.", allow_abbrev=False
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    _add_txt2img(add("txt2img", "draw pictures of a prompt"))
    _add_img2img(add("img2img", "draw a picture again under a prompt"))
    _add_inpaint(add("inpaint", "draw the white part of a mask again"))
    _add_train(add("train", "train the tiny model from scratch"), with_train)
    _add_inspect(add("inspect", "show what a picture or a model file holds"))
    add("env", "show versions and devices").set_defaults(run=_env)
    return parser


def _flag(
    parser: argparse._ActionsContainer, name: str, *aliases: str, help: str, **options: object
) -> None:
    """Add `name`; its aliases, and all of them with underscores, work too but stay out of the help text."""
    also = f" (also {', '.join(aliases)})" if aliases else ""
    names = [name, *aliases]
    hidden = [
        n
        for a in names
        if a.startswith("--") and (n := "--" + a[2:].replace("-", "_")) not in names
    ]
    add: Callable[..., argparse.Action] = parser.add_argument
    action = add(name, *(a for a in aliases if len(a) == 2), help=help + also, **options)
    others = [a for a in aliases if len(a) > 2] + hidden
    if others:
        add(
            *others,
            help=argparse.SUPPRESS,
            **{**options, "default": argparse.SUPPRESS, "dest": action.dest},
        )


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all three share. A flag left out stays None: the pipeline has the default."""
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to draw")
    _flag(
        parser, "--prompt", help="the prompt, as a flag", dest="prompt_flag", metavar="PROMPT"
    )
    _flag(
        parser,
        "--prompt-file",
        "--from-file",
        help="a UTF-8 file with one prompt a line",
        metavar="FILE",
    )
    _flag(
        parser, "--negative-prompt", "--negative", help="what to draw away from", metavar="TEXT"
    )
    _flag(
        parser,
        "--steps",
        "--ddim-steps",
        "--num-inference-steps",
        help="denoising steps (20)",
        type=int,
    )
    _flag(parser, "--sampler", "--sampler-name", help="sampler (dpmpp_2m)", metavar="NAME")
    help = "noise levels as in compvis, labml, diffusers or a1111 (ours)"
    _flag(parser, "--compat", help=help, metavar="TOOL")
    _flag(
        parser,
        "--guidance-scale",
        "--scale",
        "--cfg-scale",
        help="weight of the prompt (the model's)",
        type=float,
    )
    _add_guidance(parser)
    _flag(parser, "--seed", help="seed of the first picture (random, and printed)", type=int)
    _add_noise(parser)
    _flag(
        parser,
        "--n-samples",
        "--batch-size",
        "--n-images",
        help="pictures of each prompt (1)",
        type=int,
    )
    _flag(
        parser,
        "--height",
        "-H",
        help="height in pixels (the model's, or the picture's)",
        type=int,
    )
    _flag(
        parser,
        "--width",
        "-W",
        help="width in pixels (the model's, or the picture's)",
        type=int,
    )
    _flag(
        parser,
        "--model",
        "--ckpt",
        help="tiny, a checkpoint, a folder or a hub id (tiny)",
        metavar="MODEL",
    )
    _flag(
        parser,
        "--tokenizer",
        help="tokenizer folder for a single-file checkpoint",
        metavar="FOLDER",
    )
    _flag(parser, "--device", help="auto, cpu, cuda, cuda:1, mps (auto)", default="auto")
    _flag(
        parser,
        "--dtype",
        "--precision",
        help="auto, float32, float16, bfloat16 (auto)",
        default="auto",
        type=_dtype,
    )
    help = "translate the U-Net with torch.compile first: slower start, faster steps"
    _flag(parser, "--compile", help=help, action="store_true")
    _flag(
        parser,
        "--outdir",
        "--output-dir",
        help="folder for the pictures (outputs)",
        default="outputs",
    )
    _add_max_pixels(parser)


def _add_max_pixels(parser: argparse.ArgumentParser) -> None:
    help = "most pixels of a picture that is read (16777216)"
    _flag(parser, "--max-pixels", help=help, type=int, metavar="N")


def _add_guidance(parser: argparse.ArgumentParser) -> None:
    help = "0 to 1: correct the contrast of a large scale (0)"
    _flag(parser, "--guidance-rescale", help=help, type=float, metavar="SHARE")
    help = "guide between two noise levels sigma only (all)"
    _flag(
        parser, "--guidance-interval", help=help, type=float, nargs=2, metavar=("LOW", "HIGH")
    )


def _add_noise(parser: argparse.ArgumentParser) -> None:
    help = "seed of the noise that --variation-strength goes towards"
    _flag(parser, "--variation-seed", "--subseed", help=help, type=int, metavar="N")
    help = "0 to 1: share of the way to the variation seed (0)"
    _flag(
        parser,
        "--variation-strength",
        "--subseed-strength",
        help=help,
        type=float,
        metavar="SHARE",
    )
    _flag(parser, "--noise", help="whose random numbers: cpu or cuda (cpu)", metavar="NAME")


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name)


def _add_txt2img(parser: argparse.ArgumentParser) -> None:
    _add_drawing(parser)
    _flag(
        parser,
        "--from-image",
        help="draw a picture again from the parameters inside it",
        metavar="PICTURE",
    )
    parser.set_defaults(run=_txt2img)


def _add_img2img(parser: argparse.ArgumentParser, default: str = "0.75") -> None:
    _add_drawing(parser)
    _flag(
        parser,
        "--init-image",
        "--init-img",
        "--image",
        help="the picture to start from",
        metavar="FILE",
    )
    help = f"0 keeps the picture, 1 redraws it ({default})"
    _flag(parser, "--strength", "--denoising-strength", help=help, type=float)
    parser.set_defaults(run=_img2img)


def _add_inpaint(parser: argparse.ArgumentParser) -> None:
    _add_img2img(parser, default="1")
    _flag(
        parser,
        "--mask",
        "--mask-image",
        help="picture of the same size: white is redrawn",
        metavar="FILE",
    )
    parser.set_defaults(run=_inpaint)


def _add_train(parser: argparse.ArgumentParser, complete: bool) -> None:
    if complete:
        from labml_sd.cli.train import add_arguments

        add_arguments(parser)
    parser.set_defaults(run=_train)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a picture, a checkpoint file or a model folder"
    )
    _add_max_pixels(parser)
    parser.set_defaults(run=_inspect)


# The commands import torch and the networks when they run, so that --help answers at once.


def _txt2img(args: argparse.Namespace) -> None:
    from labml_sd.cli import draw as cli_draw

    cli_draw.txt2img_command(args)


def _img2img(args: argparse.Namespace) -> None:
    from labml_sd.cli import draw as cli_draw

    cli_draw.img2img_command(args)


def _inpaint(args: argparse.Namespace) -> None:
    from labml_sd.cli import draw as cli_draw

    cli_draw.inpaint_command(args)


def _train(args: argparse.Namespace) -> None:
    from labml_sd.cli import train as command

    before = signal.getsignal(signal.SIGINT)
    if before is cli_start.stop:  # training saves what it has, and then ends
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command.run(args)
    finally:
        signal.signal(signal.SIGINT, before)


def _inspect(args: argparse.Namespace) -> None:
    from labml_sd.cli import show as cli_show

    cli_show.inspect_command(args.file, args.max_pixels)


def _env(args: argparse.Namespace) -> None:
    from labml_sd.cli import show as cli_show

    cli_show.env_command()


if __name__ == "__main__":
    sys.exit(cli_start.main())
