r"""Time and memory of a block of code, for cells that draw on the reader's own device.

Maps       a `with` block on a device  ->  Cost(seconds, gigabytes)
Tests      tests/figures/test_cost.py
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class Cost:
    """What a block took; printed, a line that says both.

    `gigabytes` is the peak of the GPU's memory inside the block, weights included. On a CPU it
    is the peak of the process since it started; NaN where the system does not tell.
    """

    seconds: float = 0.0
    gigabytes: float = float("nan")

    def __str__(self) -> str:
        """Seconds, and gigabytes where they are known."""
        memory = "" if math.isnan(self.gigabytes) else f", {self.gigabytes:.1f} GB"
        return f"{self.seconds:.1f} s{memory}"


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure a block. The cost is filled in when the block ends, also with an error."""
    cost = Cost()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)  # a GPU may still be at work
        cost.seconds = time.perf_counter() - start
        cost.gigabytes = _peak(device) / 1e9


def _peak(device: torch.device) -> float | int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":  # no peak is recorded there: what is held now
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
