"""A rival in a child process with its own environment, which is asked for one run at a time.

It takes its turn in the rounds like the others, which wait meanwhile.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pairs import Reading
from torch import Tensor


class Child:
    """The process at the other end of the pipe."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def ask(self, request: str) -> str:
        """Write a line, read a line. RuntimeError if the process has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline().strip()
        if not reply:
            raise RuntimeError(f"the rival's process ended at the request {request[:80]!r}")
        return reply

    def run(self) -> Reading:
        """One call."""
        return {"seconds": float(self.ask("run"))}

    def answer(self) -> Tensor:
        """The result of one call."""
        file = self.folder / "answer.pt"
        self.ask(f"answer {file}")
        return torch.load(file, weights_only=True)


@contextmanager
def started(
    command: list[str | Path],
    order: dict[str, Any],
    tensors: dict[str, dict[str, Tensor]],
    files: Path,
) -> Iterator[Child]:
    """The running process, ready for requests.

    Its first line of input is `order` as JSON, with the number of threads, a folder for its own
    files, and for each entry of `tensors` the file that holds them.
    """
    files.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=files) as name:
        folder = Path(name)
        for kind, some in tensors.items():
            torch.save(some, folder / f"{kind}.pt")
        paths = {kind: str(folder / f"{kind}.pt") for kind in tensors}
        whole = {**order, **paths, "folder": name, "threads": torch.get_num_threads()}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            child = Child(process, folder)
            child.ask(json.dumps(whole))
            yield child
            assert process.stdin is not None
            process.stdin.close()
