r"""The program itself: Ctrl-C ends it at any moment, from the first import to the last line.

Maps       the process -> exit code; 130 and one line on standard error after Ctrl-C
Tests      tests/test_cli_interrupted.py

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import, in a
destructor, or when the interpreter shuts down, libraries swallow it or a stack trace is
printed. Nothing is lost by ending at once: pictures are written whole, and training, which has
more to put away, asks for the exception.
"""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Take over Ctrl-C before PyTorch is imported, then run the command of the process's arguments."""
    # A job in the background ignores Ctrl-C, and still does.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        from labml_sd.cli import main as cli

        return cli.main(sys.argv[1:])
    finally:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # all is done but the interpreter's own goodbye


def stop(number: int, frame: FrameType | None) -> None:
    """End the process. No stack is unwound, so nothing on it can object."""
    line = b"labml-sd: error: interrupted\n"
    try:
        os.write(
            2, b"\n" + line if os.isatty(2) else line
        )  # in a terminal there may be a progress bar
    finally:
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
