r"""Data-parallel training: each process computes its share of a batch, all take the same step.

Maps       the batch of a step  ->  this process's share
           gradients, losses, embeddings of each process  ->  those of all
Reference  torchrun and accelerate launch: WORLD_SIZE, RANK, LOCAL_RANK in the environment
Tests      tests/training/test_processes.py

The batch of P processes is P times the recipe's. Scenes, crops and noise are drawn for the
whole batch and then split, so P processes learn what one process with a batch P times as large
would learn. DistributedDataParallel is not used: it hides the networks behind a `forward`, and
for models of this size one message a step is enough.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.utilities.device import use_own_gpu

Batch = TypeVar("Batch", bound=Tensor | Sequence[Any])


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. With one, each method is the identity."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's part of the whole batch: consecutive parts of equal length."""
        n = len(batch) // self.count
        return batch[self.rank * n : (self.rank + 1) * n]  # type: ignore[return-value]

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's mean over the processes, without gradient; one message for all."""
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.count, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, networks: nn.Module) -> None:
        """Replace the gradients by their mean over the processes."""
        trained = [p for p in networks.parameters() if p.grad is not None]
        gradients = self.mean([p.grad for p in trained if p.grad is not None])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient

    def gather(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "n d"]:
        """The rows of all processes, in order; gradients return to the process of a row."""
        return x if self.count == 1 else _Gather.apply(x, self)  # type: ignore[no-untyped-call]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. Returns when all processes have called it."""
        if self.count == 1:
            return flag
        shared = torch.tensor(float(flag))
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return bool(shared)

    def wait(self) -> None:
        """A barrier: returns when all processes have called it."""
        self.any(False)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run a block in the main process first, so that the others find the file it wrote."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


ALONE = Processes()


class _Gather(torch.autograd.Function):
    """The rows of all processes. Backward sums a row's gradients over the processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        parts = [torch.empty_like(x) for _ in range(processes.count)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return ctx.processes.share(total), None


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Connect the processes that a launcher started, each with its own GPU if there are GPUs.

    ALONE without a launcher.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    use_own_gpu()
    dist.init_process_group()
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
