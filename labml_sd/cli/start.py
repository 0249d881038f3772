r"""The entry point of `labml-sd`: takes over Ctrl-C, then runs the command line.

Maps       the process's arguments -> exit code
Tests      tests/cli/test_interrupted.py
"""

import signal
import sys

from labml_sd.cli.stop import stop


def main() -> int:
    """Take over Ctrl-C before anything else is imported, then run the command."""
    # A job in the background ignores Ctrl-C, and that stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        from labml_sd.cli import main as cli

        return cli.main(sys.argv[1:])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only Python's own clean-up is left
