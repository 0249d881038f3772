r"""Several processes as one: each computes its share of a batch, and all take the same step.

Maps       the batch of a step  ->  this process's share;  gradients, losses, embeddings  ->  those of all
Reference  the environment that torchrun and accelerate launch set up: WORLD_SIZE, RANK, LOCAL_RANK
Tests      tests/training/test_processes.py

A batch of P processes is P times the recipe's. Scenes, crops and noise are drawn for the whole
batch and then cut, so P processes learn what one process with a batch P times as large would
learn. DistributedDataParallel is not used: it hides the networks behind a `forward`, and one
message a step serves models of this size.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Generator, Tensor, nn

Batch = TypeVar("Batch", bound=Tensor | Sequence[Any])


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. Alone, every method gives back what it was given."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's part of a batch of all: parts are of one length and lie one after the other."""
        n = len(batch) // self.count
        return batch[self.rank * n : (self.rank + 1) * n]  # type: ignore[return-value]

    def randn(self, shape: Sequence[int], draw: Generator) -> Float[Tensor, "..."]:
        """This process's part of the noise for a batch of all; `shape` is that of the part."""
        return self.share(torch.randn(self.count * shape[0], *shape[1:], generator=draw))

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's mean over the processes, without gradient. One message carries them all."""
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.count, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, networks: nn.Module) -> None:
        """Give every process the gradient of the mean loss."""
        trained = [p for p in networks.parameters() if p.grad is not None]
        gradients = self.mean([p.grad for p in trained if p.grad is not None])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient

    def gather(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "n d"]:
        """The rows of all processes, in order; gradients flow back to the process a row came from."""
        return x if self.count == 1 else _Gather.apply(x, self)  # type: ignore[no-untyped-call]

    def agree(self, number: float) -> float:
        """The main process's number."""
        if self.count == 1:
            return number
        told = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(told, src=0)
        return float(told)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in some process. Nobody goes on before all have answered."""
        if self.count == 1:
            return flag
        told = torch.tensor(float(flag))
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def wait(self) -> None:
        """Go on when all have come this far."""
        self.any(False)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do a block's work and write its file; the others then find the file."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


ALONE = Processes()


class _Gather(torch.autograd.Function):
    """Rows of all processes. What a row adds to the losses of all is summed on its way back."""

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
def joined() -> Iterator[Processes]:
    """Meet the processes that a launcher has started, each with a GPU of its own where there are GPUs.

    Without a launcher there is nobody to meet: ALONE.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(
            int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        )
    dist.init_process_group()
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
