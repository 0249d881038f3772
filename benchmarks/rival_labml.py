"""labml_nn in a child process with its own environment, which is asked for one run at a time.

It takes its turn in the rounds like the others, which wait meanwhile.
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
"""Bytes of attention scores in one layer: labml_nn holds all of them, twice in the softmax."""


def fits(size: int, batch: int) -> bool:
    """Whether a guided step of its U-Net, in float32 with 8 heads, stays within MAX_SCORES."""
    return 2 * batch * 8 * ((size // 8) ** 2) ** 2 * 4 <= MAX_SCORES


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
            raise RuntimeError(f"labml_nn's process ended at the request {request[:80]!r}")
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
    python: Path | None,
    part: str,
    what: str,
    weights: nn.Module,
    inputs: dict[str, Tensor],
    files: Path,
) -> Iterator[dict[str, Child]]:
    """The running process by its name, with our weights; none without a `python`."""
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
