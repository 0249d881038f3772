r"""Ctrl-C waits for the end of a step: weights and step count are never saved apart.

Maps       a signal  ->  `asked`
Tests      tests/utilities/test_interrupt.py
"""

import signal
import threading
from types import FrameType


class Interrupt:
    """While it is entered, Ctrl-C only sets `asked`.

    Only the main thread may decide on signals. A run in the background ignores Ctrl-C, and
    still does.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before = signal.getsignal(signal.SIGINT)
        in_main = threading.current_thread() is threading.main_thread()
        self._holds = in_main and self._before is not signal.SIG_IGN

    def __enter__(self) -> "Interrupt":
        """Put Ctrl-C on hold."""
        if self._holds:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Give Ctrl-C back its meaning."""
        if self._holds:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
