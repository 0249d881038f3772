r"""The plain U-Net through torch.compile, and on CUDA as one graph of all its kernels.

A step of SD v1 is some 600 small kernels. At batch 1 a fast GPU waits for Python to start them.
Compiling fuses many of them; a CUDA graph starts all that are left with one call.

Only the blocks that repeat are compiled (*regional* compilation): equal blocks share one
translation, so it takes a tenth of the time that the whole network would.

Maps       UNet -> the same UNet, compiled; prompts -> (x, t) -> eps
Tests      tests/acceleration/test_compiled.py
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.acceleration.unet import Prompted
from labml_sd.unet.blocks import ResBlock
from labml_sd.unet.spatial_transformer import BasicTransformerBlock
from labml_sd.unet.unet import UNet

REPEATED = (ResBlock, BasicTransformerBlock)
COMPILED = ("_compiled_call_impl",)  # what `Module.compile` leaves on a module
Replay = Callable[[Tensor, float, Tensor], Tensor]
TRANSLATIONS = (
    1024  # of one function: enough for dozens of sizes. Beyond it the plain function runs
)
WARM_UPS = (
    3  # a graph records kernels, so nothing may be compiled or tuned any more while it does
)


def compile_unet(unet: UNet, backend: str | Callable[..., Any] = "inductor") -> None:
    """Have the repeated blocks translated at their first call. Weights may be changed afterwards.

    PyTorch stops after 8 translations of one function. SD v1's ResBlocks have 14 shapes, and
    each size of picture or batch has its own, so the limit of the process is raised.
    """
    from torch._dynamo import config  # takes a second; only who compiles should wait for it

    config.recompile_limit = max(config.recompile_limit, TRANSLATIONS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, TRANSLATIONS)
    for module in unet.modules():
        if isinstance(module, REPEATED):
            module.compile(backend=backend, dynamic=False)


def is_compiled(unet: UNet) -> bool:
    """Whether `compile_unet` was called on it."""
    return any(name in vars(m) for m in unet.modules() for name in COMPILED)


def recorded(run: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """A graph of what `run` does, and the tensor that every replay writes its answer into."""
    new_stream: Callable[[], torch.cuda.Stream] = torch.cuda.Stream
    aside = new_stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph, out


class GraphedUNet:
    """A U-Net recorded as CUDA graphs, one for each size of batch and picture.

    A graph reads and writes the memory it was recorded with. So inputs are copied in and the
    answer is copied out, and weights that are moved elsewhere afterwards are not seen.
    """

    def __init__(self, unet: UNet) -> None:
        # road.py keeps this for as long as the U-Net lives, not the other way round
        self.unet = weakref.ref(unet)
        self.graphs: dict[tuple[torch.Size, torch.Size, torch.dtype], Replay] = {}

    def prompted(self, cond: Float[Tensor, "rows n d_cond"]) -> Prompted:
        """Bind the prompts of a run. x may have as many rows as `cond`, or half as many."""

        def eps(x: Float[Tensor, "b c h w"], t: float) -> Float[Tensor, "rows c2 h w"]:
            key = (x.shape, cond.shape, cond.dtype)
            if key not in self.graphs:
                self.graphs[key] = self._record(x, cond)
            return self.graphs[key](x, t, cond)

        return eps

    def _record(self, x: Tensor, cond: Tensor) -> Replay:
        x_in, cond_in = x.clone(), cond.clone()
        t_in = torch.zeros(cond.shape[0], device=x.device)

        def run() -> Tensor:
            unet = self.unet()
            assert unet is not None, "whoever asks holds the model"
            both = torch.cat([x_in] * (cond.shape[0] // x.shape[0]))
            return unet(both.contiguous(memory_format=torch.channels_last), t_in, cond_in)

        graph, out = recorded(run)

        def replay(x: Tensor, t: float, cond: Tensor) -> Tensor:
            x_in.copy_(x)
            t_in.fill_(t)
            cond_in.copy_(cond)
            graph.replay()
            return out.clone()

        return replay
