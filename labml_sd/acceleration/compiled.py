r"""The U-Net through torch.compile, and on CUDA as one graph of all its kernels.

A step of SD v1 is some 600 small kernels. At batch size 1 a fast GPU waits for Python to start
them. Compiling fuses many of them; a CUDA graph starts all that remain with one call.

Only the blocks that repeat are compiled (regional compilation): equal blocks share one
compilation, so it takes a tenth of the time of the whole network.

Maps       as in labml_sd/unet/unet.py
Tests      tests/acceleration/test_compiled.py
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from labml_sd.acceleration.layers import channels_last
from labml_sd.acceleration.packed import Packed, is_ordinary, new
from labml_sd.acceleration.transformer import is_flash
from labml_sd.unet import NO_RESIDUALS, UNet, UNetResiduals
from labml_sd.unet.blocks import ResBlock
from labml_sd.unet.spatial_transformer import BasicTransformerBlock

REPEATED = (ResBlock, BasicTransformerBlock)
COMPILED = "_compiled_call_impl"  # what `Module.compile` sets on a module
RECOMPILES = 1024  # of one function: enough for dozens of picture sizes
WARM_UPS = 3  # a graph records kernels: nothing may be compiled or tuned while it does
Replay = Callable[[Tensor, Tensor, Tensor], Tensor]


def compile_unet(unet: UNet, backend: str | Callable[..., Any] = "inductor") -> None:
    """Have the repeated blocks compiled at their first call. Weights may be changed afterwards.

    PyTorch stops after 8 compilations of one function. SD v1's ResBlocks have 14 shapes, and
    each size of picture or batch has its own, so the limit of the process is raised.
    """
    from torch._dynamo import config  # takes a second to import

    config.recompile_limit = max(config.recompile_limit, RECOMPILES)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, RECOMPILES)
    for module in unet.modules():
        if isinstance(module, REPEATED):
            module.compile(backend=backend, dynamic=False)


def is_compiled(unet: nn.Module) -> bool:
    """Whether `compile_unet` was called on it."""
    return any(COMPILED in vars(module) for module in unet.modules())


def record(run: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """A graph of what `run` does, and the tensor that every replay writes its result into."""
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


def is_unchanged(unet: UNet) -> bool:
    """Whether weights alone tell it from a new one; compiled or not, hooked or not."""
    return is_flash() and is_ordinary(unet, new(UNet, unet.config), but=frozenset({COMPILED}))


@dataclass
class Graphs:
    """The graphs of a U-Net, one for each shape of its inputs, and where its weights were."""

    weights: list[tuple[Any, ...]]
    replays: dict[tuple[Any, ...], Replay] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)


_graphs: WeakKeyDictionary[nn.Module, Graphs] = WeakKeyDictionary()


class GraphedUNet(Packed, UNet):
    """A compiled `UNet` that replays CUDA graphs, for as long as the plain one lives.

    A graph reads and writes the memory that it was recorded with. So inputs are copied in and
    the result is copied out, and new graphs are recorded when weights have moved.
    """

    def __init__(self, plain: UNet) -> None:
        super().__init__(plain)
        weights = [(w.data_ptr(), w.dtype, w.shape, w.stride()) for w in self.weights]
        if plain not in _graphs or _graphs[plain].weights != weights:
            _graphs[plain] = Graphs(weights)
        self.graphs = _graphs[plain]

    @classmethod
    def fits(cls, plain: UNet) -> bool:
        """On CUDA, compiled, and otherwise like a new one: a graph repeats what it recorded."""
        on_cuda = next(plain.parameters()).is_cuda
        return on_cuda and is_compiled(plain) and is_unchanged(plain)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        t: Num[Tensor, "#b"],
        cond: Float[Tensor, "rows n d_cond"],
        residuals: UNetResiduals = NO_RESIDUALS,
    ) -> Float[Tensor, "rows c2 h w"]:
        """As `UNet.forward`; with residuals without a graph."""
        if residuals is not NO_RESIDUALS:
            return self.plain(x, t, cond, residuals)
        key = (x.shape, t.shape, cond.shape, cond.dtype)
        with self.graphs.lock:
            if key not in self.graphs.replays:
                self.graphs.replays[key] = self._record(x, t, cond)
            return self.graphs.replays[key](x, t, cond)

    def _record(self, x: Tensor, t: Tensor, cond: Tensor) -> Replay:
        inputs = (channels_last(x).clone(), t.float().clone(), cond.clone())
        graph, out = record(lambda: self.plain(*inputs))

        def replay(*given: Tensor) -> Tensor:
            for into, value in zip(inputs, given, strict=True):
                into.copy_(value)
            graph.replay()
            return out.clone()

        return replay
