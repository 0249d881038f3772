r"""Models for small GPUs: networks wait on the CPU, and only the one that runs is on the GPU.

A picture needs the text encoder once, then the U-Net at every step, then the decoder once. In
half precision the networks of SD v1 have 0.25, 1.72 and 0.17 GB of weights, 2.13 together. Here
the GPU holds 1.72 while the U-Net runs, and 0.17 while the decoder does, which needs the most
memory for its feature maps.

Weights do not change while they are used. So nothing is copied back: a weight is given its
tensor on the CPU again, and the GPU's is dropped.

Maps       as in labml_sd/latent_diffusion.py
Tests      tests/test_offload.py, tests/gpu/test_offload.py
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import RLock

import torch
from jaxtyping import Float, Num, Shaped
from torch import Generator, Tensor, nn

from labml_sd.acceleration import accelerate
from labml_sd.acceleration.compiled import GraphedUNet
from labml_sd.acceleration.copies import forget_moved
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import Chunk
from labml_sd.unet import NO_RESIDUALS, UNetResiduals
from labml_sd.utilities.device import memory_format


def waiting_place(device: torch.device) -> torch.device:
    """Where networks wait that run on `device`: the CPU, or there if it is the CPU's memory."""
    return device if device.type in ("cpu", "mps") else torch.device("cpu")


def placed(weight: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """A weight on the device, its numbers in the order that `load_model` gives them there."""
    return weight.to(device, memory_format=memory_format(weight, device))


@contextmanager
def on_device(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within the block the weights of a network are on the device.

    Afterwards each has the tensor that it had before, so a change made within the block is
    lost. The parameters stay the same objects: module trees that share them move together.
    """
    waiting: list[tuple[Tensor, Tensor]] = []
    try:
        for weight in [*network.parameters(), *network.buffers()]:
            waiting.append((weight, weight.data))
            weight.data = placed(weight.data, device)
        yield
    finally:
        for weight, data in waiting:
            weight.data = data
        forget_moved(network.parameters())
        if device.type != "cpu":
            torch.accelerator.empty_cache()  # other programs, too, may need the memory


class Turns:
    """One run at a time has the device. A copy or a pickle of a model takes its own turns."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lock = RLock()

    def __reduce__(self) -> tuple[type["Turns"], tuple[torch.device]]:
        """A lock has no copies."""
        return Turns, (self.device,)


class Offloaded(LatentDiffusion):
    """A model whose networks run on a device, one at a time, and otherwise wait on the CPU.

    Between calls all weights are on the CPU: there they can be changed and saved. Each method
    brings its network to the device for this call. In `with model.run() as network` a network
    stays on the device until another one of `network` is called. Runs of several threads take
    turns. A weight that is changed during a run, in `on_step`, is itself again after it.
    """

    turns: Turns
    _stack: ExitStack | None = None  # of a run: takes its network off the device
    _current = ""

    def __init__(self, model: LatentDiffusion, device: torch.device) -> None:
        """The networks of `model`, with all that is set on it or registered with it."""
        self.__dict__.update(vars(model), turns=Turns(device))

    @property
    def device(self) -> torch.device:
        """The device that the networks run on."""
        return self.turns.device

    @contextmanager
    def run(self, *, fast: bool = False) -> Iterator["Offloaded"]:
        """The model for several calls in a row; with `fast` its networks are accelerated."""
        if self._stack is not None:  # it is a run
            yield self
            return
        run = copy.copy(self)
        run.fast = fast
        with self.turns.lock, ExitStack() as stack:
            run._stack = stack
            yield run

    def encode_prompt(
        self, prompts: str | list[str], layer: int = -1
    ) -> Float[Tensor, "b n d"]:
        """As `LatentDiffusion.encode_prompt`."""
        with self.run() as run:
            return super(Offloaded, run._with("text_encoder")).encode_prompt(prompts, layer)

    def encode_chunks(
        self, prompts: Sequence[Sequence[Chunk]], layer: int = -1, emphasis: str = "a1111"
    ) -> list[Float[Tensor, "n d"]]:
        """As `LatentDiffusion.encode_chunks`."""
        with self.run() as run:
            run._with("text_encoder")
            return super(Offloaded, run).encode_chunks(prompts, layer, emphasis)

    def encode_image(
        self, image: Float[Tensor, "b 3 H W"], generator: Generator | None = None
    ) -> Float[Tensor, "b z h w"]:
        """As `LatentDiffusion.encode_image`."""
        with self.run() as run:
            return super(Offloaded, run._with("autoencoder")).encode_image(image, generator)

    def decode_latent(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 H W"]:
        """As `LatentDiffusion.decode_latent`."""
        with self.run() as run:
            return super(Offloaded, run._with("autoencoder")).decode_latent(z)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        t: Num[Tensor, "#b"],
        c: Float[Tensor, "rows n d"],
        residuals: UNetResiduals = NO_RESIDUALS,
    ) -> Float[Tensor, "rows z h w"]:
        """As `LatentDiffusion.forward`."""
        with self.run() as run:
            return super(Offloaded, run._with("unet")).forward(x, t, c, residuals)

    def _with(self, name: str) -> "Offloaded":
        """This run, with one network on the device instead of the one before."""
        assert self._stack is not None, "only a run has a network on the device"
        if self._current != name:
            self._stack.close()
            self._stack.enter_context(self._on_device(name))
        return self

    @contextmanager
    def _on_device(self, name: str) -> Iterator[None]:
        before, network = self._modules, self.get_submodule(name)
        with on_device(network, self.device):
            try:
                self._modules = {**before, name: accelerated(network) if self.fast else network}
                self._current = name
                yield
            finally:  # before the weights leave: nothing may keep what was packed from them
                self._current, self._modules = "", before


def accelerated(network: nn.Module) -> nn.Module:
    """With faster layers, but no CUDA graph, which is bound to the place of its weights."""
    tree = accelerate(network)
    return network if isinstance(tree, GraphedUNet) else tree
