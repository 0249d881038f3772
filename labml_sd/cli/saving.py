r"""Draw the calls of a list, and save what each gives before the next.

Maps       calls -> numbered files, their paths on standard output, what could not be drawn
Tests      tests/cli/test_lists.py, tests/cli/test_main.py
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from labml_sd.cli.lists import Call
from labml_sd.cli.resume import SavedList
from labml_sd.errors import LabmlSdError, one_line
from labml_sd.images.writing import save_images
from labml_sd.utilities.interrupt import Interrupt

_MAX_REASONS = 3  # that a line names


def draw_calls(
    saved: SavedList, calls: Sequence[Call], *, progress: bool, tell_seed: bool
) -> dict[str, str]:
    """Save the pictures and print their paths; return why some were not drawn, by their names.

    What is wrong with one prompt or picture does not end the list; a full disk does.
    """
    failed: dict[str, str] = {}
    for call in calls:
        try:
            images = saved.pictures.draw(call, progress=progress)
        except LabmlSdError as error:
            if len(saved.pictures.calls) == 1:
                raise
            failed |= dict.fromkeys(map(saved.name, saved.missing(call)), str(error))
            continue
        if tell_seed:
            note(f"seed {saved.pictures.calls[0].settings['seed']}")
            tell_seed = False
        for place in saved.missing(call):
            _save(images[place - call.place], saved.folder, saved.first + place)
    return failed


def _save(image: Image.Image, folder: Path, number: int) -> None:
    """Save a picture and print its path, even if Ctrl-C comes between them."""
    with Interrupt() as interrupt:
        print_path(*save_images([image], folder, number=number))
    if interrupt.asked:
        raise KeyboardInterrupt


def summary(failed: Mapping[str, str], advice: str) -> str:
    """One line: which pictures were not drawn, why, and what draws them."""
    reasons: dict[str, list[str]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    told = [
        f"{names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)} ({reason})"
        for reason, names in reasons.items()
    ]
    others = [f"{len(told) - _MAX_REASONS} more reasons"] * (len(told) > _MAX_REASONS)
    return f"not drawn: {', '.join([*told[:_MAX_REASONS], *others])}; {advice}"


def print_path(path: Path) -> None:
    """Print the bytes of a path where its text cannot be: a script opens what it reads."""
    try:
        str(path).encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    else:
        # in one write, at once: lines of several processes do not mix, or get lost
        print(f"{path}\n", end="", flush=True)


def note(text: str) -> None:
    """Print to standard error: scripts read the paths from standard output."""
    print(one_line(text), file=sys.stderr)
