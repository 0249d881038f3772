r"""Holds Ctrl-C back until the end of a step, so that weights and step count stay consistent.

Maps       the signal SIGINT  ->  `asked`
Tests      tests/utilities/test_interrupt.py
"""

import signal
import threading
from types import FrameType


class Interrupt:
    """Inside its `with` block, Ctrl-C only sets `asked`.

    It has no effect outside the main thread, where Python allows no signal handlers, and in a
    background process that ignores Ctrl-C.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before = signal.getsignal(signal.SIGINT)
        in_main = threading.current_thread() is threading.main_thread()
        self._holds = in_main and self._before is not signal.SIG_IGN

    def __enter__(self) -> "Interrupt":
        """Replace the handler of Ctrl-C."""
        if self._holds:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handler of Ctrl-C."""
        if self._holds:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
