r"""Ctrl-C ends the program at any moment, from the first import to the last line.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import, in a
destructor, or while the interpreter shuts down, libraries swallow it or a stack trace is
printed. Nothing is lost by ending at once: pictures are written whole. Training, which saves
its state, asks for the exception.

Maps       a signal -> one line on standard error, exit code 130 (143 for SIGTERM)
Tests      tests/cli/test_interrupted.py
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType


def stop(number: int, frame: FrameType | None, advice: str = "") -> None:
    """End the process. No stack is unwound, so no library can interfere."""
    line = f"labml-sd: error: interrupted{advice}\n".encode()
    try:
        os.write(2, b"\n" + line if os.isatty(2) else line)  # below a progress bar
    finally:
        os._exit(128 + number)


@contextmanager
def raising() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt where it would have called `stop`."""
    before = signal.getsignal(signal.SIGINT)
    if before is stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Inside, the line of `stop` ends with advice, and SIGTERM, by which launchers end all
    processes, has such a line too.
    """
    ours = signal.getsignal(signal.SIGINT) is stop
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM) if ours}
    try:
        for each in before:
            signal.signal(each, partial(stop, advice=f"; {advice}"))
        yield
    except KeyboardInterrupt as interrupted:
        raise KeyboardInterrupt(f"interrupted; {advice}") from interrupted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
