"""How a rival's own interpreter answers the requests of `rival_process.py`.

Only torch is needed here.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

import torch
from torch import Tensor


def serve(
    call: Callable[[], Tensor], replies: TextIO, check: Callable[[], Tensor] | None = None
) -> None:
    """Answer until the input ends: "run" prints the seconds of one call, "answer FILE" also
    writes its result, or that of `check` if there is one.
    """
    print("ready", file=replies, flush=True)
    for request in sys.stdin:
        word, _, file = request.strip().partition(" ")
        work = check if check is not None and word == "answer" else call
        started = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - started
        if word == "answer":
            torch.save(answer.clone(), file)
        print(seconds, file=replies, flush=True)
