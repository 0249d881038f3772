"""Ctrl-C at a chosen line of the package."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import labml_sd

PACKAGE = str(Path(labml_sd.__file__).parent)


class CtrlC:
    """Raises KeyboardInterrupt at the nth line of the package after `function` was entered."""

    def __init__(self, n: int, function: str = "", file: str = "") -> None:
        self.left = n
        self.function, self.file = function, file
        self.began = not function

    def __call__(self, frame: FrameType, event: str, arg: object) -> "CtrlC | None":
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) or not code.co_filename.endswith(self.file):
            return None
        self.began = self.began or code.co_name == self.function
        if event == "line" and self.began:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self

    def during(self, call: Callable[[], Any]) -> bool:
        """Whether it was raised before the call ended."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False
