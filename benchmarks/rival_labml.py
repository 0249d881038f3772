"""labml_nn, whose releases need an environment of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rival_process import Child, started
from torch import Tensor, nn

SCRIPT = Path(__file__).with_name("rival_labml_child.py")
MAX_SCORES = 1.5 * 2**30
"""Bytes of attention scores in one layer: labml_nn holds all of them, twice in the softmax."""


def fits(size: int, batch: int) -> bool:
    """Whether a guided step of its U-Net, in float32 with 8 heads, stays within MAX_SCORES."""
    return 2 * batch * 8 * ((size // 8) ** 2) ** 2 * 4 <= MAX_SCORES


@contextmanager
def labml(
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
    tensors = {"weights": weights.state_dict(), "inputs": inputs}
    order = {"part": part, "what": what}
    with started([python, SCRIPT], order, tensors, files) as child:
        yield {"labml_nn": child}
