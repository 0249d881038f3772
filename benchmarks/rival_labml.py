"""labml_nn as a rival: a child process in its own environment, asked for one run at a time.

It takes its turn in the rounds like the others, and runs while they wait.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pairs import Reading
from torch import Tensor, nn

SCRIPT = Path(__file__).with_name("rival_labml_child.py")
MAX_SCORES = 1.5 * 2**30
"""Bytes of attention scores in one layer. It holds all of them, and a second time for the softmax."""


def fits(size: int, batch: int) -> bool:
    """Whether a guided step of its U-Net, in float32 and 8 heads, stays within these bytes."""
    return 2 * batch * 8 * ((size // 8) ** 2) ** 2 * 4 <= MAX_SCORES


class Child:
    """The process at the other end of the pipe."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def ask(self, wish: str) -> str:
        """Write a line, read a line."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{wish}\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline().strip()
        if not reply:
            raise RuntimeError(f"labml_nn's process ended; its last wish was {wish[:80]!r}")
        return reply

    def run(self) -> Reading:
        """One call."""
        return {"seconds": float(self.ask("run"))}

    def answer(self) -> Tensor:
        """What a call gives."""
        file = self.folder / "answer.pt"
        self.ask(f"answer {file}")
        return torch.load(file, weights_only=True)


@contextmanager
def invited(
    python: Path | None,
    part: str,
    what: str,
    weights: nn.Module,
    inputs: dict[str, Tensor],
    files: Path,
) -> Iterator[dict[str, Child]]:
    """Start the process; nobody comes without a `python`. Its weights are ours, through a file in `files`."""
    if python is None:
        yield {}
        return
    files.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=files) as name:
        folder = Path(name)
        torch.save(weights.state_dict(), folder / "weights.pt")
        torch.save(inputs, folder / "inputs.pt")
        paths = {kind: str(folder / f"{kind}.pt") for kind in ("weights", "inputs")}
        order = {"part": part, "what": what, "threads": torch.get_num_threads(), **paths}
        with subprocess.Popen(
            [python, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            child = Child(process, folder)
            child.ask(json.dumps(order))
            yield {"labml_nn": child}
            assert process.stdin is not None
            process.stdin.close()
