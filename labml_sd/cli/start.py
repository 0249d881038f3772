r"""The entry point of `labml-sd`: prepares the process, then runs the command line.

Maps       the process's arguments -> exit code
Tests      tests/cli/test_interrupted.py
"""

import io
import os
import signal
import sys

from labml_sd.cli.stop import stop


def main() -> int:
    """Take over Ctrl-C before anything else is imported, then run the command."""
    open_streams()
    # A job in the background ignores Ctrl-C, and that stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        from labml_sd.cli import main as cli

        return cli.main(sys.argv[1:])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only Python's own clean-up is left


def open_streams() -> None:
    """Replace the standard streams that are missing, and let them print any text.

    Under a service, or after `>&-`, there is no standard output, and Python has None for it.
    `open` takes the lowest number that is free, which is the stream's own: no other file can
    take it, or a library that prints would write into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a console cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
