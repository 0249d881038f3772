r"""`labml-sd interrogate FILE`: read a prompt from a picture.

Maps       parsed arguments -> prompts on standard output, a line for each picture
Tests      tests/cli/test_interrogate.py
"""

import argparse
import sys

from labml_sd.cli.saving import note
from labml_sd.errors import ImageError, one_line
from labml_sd.interrogator import interrogate, load_interrogator
from labml_sd.interrogator.interrogators import known_mode

_LOADING = ("caption_model", "phrases", "cache", "device", "dtype")


def interrogate_command(args: argparse.Namespace) -> None:
    """Print the prompt of a picture; of several, the name, a tab and the prompt of each.

    A picture that cannot be read does not keep the others from being read.
    """
    known_mode(args.mode)  # before a large model is loaded
    model = load_interrogator(args.model, **{name: getattr(args, name) for name in _LOADING})
    options = {
        "mode": args.mode,
        "max_pixels": args.max_pixels,
        "progress": sys.stderr.isatty(),
    }
    if len(args.files) == 1:
        print(one_line(interrogate(args.files[0], model, **options)))
        return
    n_failed = 0
    for file in args.files:
        try:
            prompt = interrogate(file, model, **options)
        except ImageError as error:
            note(f"labml-sd: error: {error}")
            n_failed += 1
        else:
            print(f"{one_line(file)}\t{one_line(prompt)}", flush=True)
    if n_failed:
        raise ImageError(f"{n_failed} of {len(args.files)} pictures could not be read")
