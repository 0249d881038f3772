"""What one guided step costs, in figures that need no clock: operations and kernel calls.

`python benchmarks/guard.py`           prints them beside the committed ones
`python benchmarks/guard.py --write`   commits them to figures.json

The step is that of the pipelines after the first level, without what is done once a prompt.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from ours import guided_step
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry, sdpa_flop_count

from labml_sd.checkpoint import load_model
from labml_sd.config import sd_v1
from labml_sd.latent_diffusion import LatentDiffusion

FIGURES = Path(__file__).with_name("figures.json")


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _convolution(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    return conv_flop_count(x.shape, weight.shape, out_val.shape)


def _linear(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    return 2 * out_val.numel() * x.shape[-1]


FORMULAS: dict[Any, Callable[..., int]] = flop_registry | {  # and those that PyTorch has not:
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.mkldnn._convolution_pointwise: _convolution,
    torch.ops.mkldnn._linear_pointwise: _linear,
}


class CostMode(TorchDispatchMode):
    """Counts operations, and the kernels that do work: a view does none.

    PyTorch's FlopCounterMode sets hooks on all modules, and with hooks a network runs its plain
    layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the operator, then count it."""
        operator, kwargs = func.overloadpacket, kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            self.kernels[operator.__name__] += 1
        if operator in FORMULAS:
            self.flops += FORMULAS[operator](*args, **kwargs, out_val=result)
        return result


def model_on_meta() -> LatentDiffusion:
    """SD v1 with shapes only."""
    with torch.device("meta"):
        model = LatentDiffusion(sd_v1(), None).eval().requires_grad_(False)
    model.fast = True  # as the loader does for a model of this size
    return model


def step_of(model: LatentDiffusion) -> Callable[[], Tensor]:
    """A guided step for one picture of the model's own size."""
    config = model.config
    side = config.image_size // config.autoencoder.downsampling_factor
    shape = (config.text_encoder.n_positions, config.unet.d_cond)
    x = torch.zeros(1, config.unet.in_channels, side, side, device=model.device)
    cond, uncond = (torch.full((1, *shape), value, device=model.device) for value in (0.5, 0.0))
    step = guided_step(model, cond, uncond, 7.5)
    levels = cycle([model.schedule.level(t) for t in (900, 500, 100)])
    return lambda: step(x, next(levels))


@torch.no_grad()
def cost(step: Callable[[], Tensor]) -> tuple[int, Counter[str]]:
    """The operations of one step after the first, and its kernel calls by name."""
    step()
    with CostMode() as counted:
        step()
    return counted.flops, counted.kernels


def measured() -> dict[str, dict[str, int]]:
    """The figures of the code as it is: the tiny model on a CPU, SD v1 on the meta device."""
    models = {"tiny": load_model(device="cpu", dtype="float32"), "v1": model_on_meta()}
    figures = {}
    for name, model in models.items():
        flops, kernels = cost(step_of(model))
        figures[name] = {"flops": flops, "kernels": kernels.total()}
    return figures


def committed() -> dict[str, dict[str, int]]:
    """The figures that must not be exceeded."""
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def main() -> None:
    """Print or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES.name}")
    now = measured()
    if parser.parse_args().write:
        FIGURES.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    for model, figures in committed().items():
        for name, figure in figures.items():
            print(f"{model:5} {name:8} committed {figure:18,}   now {now[model][name]:18,}")


if __name__ == "__main__":
    main()
