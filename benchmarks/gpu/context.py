"""What a stage is given, and where it writes what it finds."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu.sizes import DRY, FULL, Sizes


@dataclass(frozen=True, kw_only=True)
class Context:
    """A stage's time, its files, and the device it measures."""

    dry_run: bool
    until: float  # when it is ended from outside, on the clock of `time.time`
    out: Path  # for files that come back from the machine: few, and at most 16 MiB each
    work: Path  # for everything else
    results: Path  # the findings so far, one line of JSON each

    @property
    def device(self) -> torch.device:
        """The GPU; in a dry run the CPU."""
        return torch.device("cpu" if self.dry_run else "cuda")

    @property
    def sizes(self) -> Sizes:
        """How large everything is."""
        return DRY if self.dry_run else FULL

    def left(self) -> float:
        """Seconds until the stage is ended."""
        return self.until - time.time()

    def record(self, finding: str, **values: object) -> None:
        """Write a finding down at once: whatever happens later, it is in the report."""
        line = json.dumps({"finding": finding, **values})
        with self.results.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)

    def file(self, name: str, shows: str) -> Path:
        """The path of a file that comes back; the report names it."""
        self.record("file", name=name, shows=shows)
        return self.out / name


def failure(error: BaseException) -> str:
    """One line about an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


def name_of(dtype: torch.dtype) -> str:
    """A number format without PyTorch's name before it."""
    return str(dtype).removeprefix("torch.")
