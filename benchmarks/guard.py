"""What one guided step costs, in figures that need no clock: operations, and calls of kernels.

`python benchmarks/guard.py`           prints them beside the committed ones
`python benchmarks/guard.py --write`   commits them to figures.json

The step is that of the pipelines, past the first level: what is done once for a prompt is over.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from road import evaluation
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

from labml_sd.checkpoint import load_model
from labml_sd.config import sd_v1
from labml_sd.latent_diffusion import LatentDiffusion

FIGURES = Path(__file__).with_name("figures.json")
Shape = Sequence[int]


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q, k, v)


def _convolution(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return conv_flop_count(x, weight, out_shape)


def _linear(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * math.prod(out_shape) * x[-1]


ON_CPU = {  # operators of which FlopCounterMode does not know what they multiply
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.mkldnn._convolution_pointwise: _convolution,
    torch.ops.mkldnn._linear_pointwise: _linear,
}


class Kernels(TorchDispatchMode):
    """Counts the operators that do work; a view only looks at memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count, then do as asked."""
        if not func.is_view:
            self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def model_on_meta() -> LatentDiffusion:
    """SD v1 without a number in it."""
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
    evaluate = evaluation(model, cond, uncond, 7.5)
    levels = cycle([model.schedule.level(t) for t in (900, 500, 100)])
    return lambda: evaluate(x, next(levels))


@torch.no_grad()
def cost(step: Callable[[], Tensor]) -> tuple[int, Counter[str]]:
    """Operations of one step, and its kernels by name."""
    step()
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as flops:
        step()
    with Kernels() as kernels:
        step()
    return flops.get_total_flops(), kernels.calls


def measured() -> dict[str, dict[str, int]]:
    """The figures of today's code: the tiny model as it is loaded on a CPU, SD v1 on the meta device."""
    models = {"tiny": load_model(device="cpu", dtype="float32"), "v1": model_on_meta()}
    figures = {}
    for name, model in models.items():
        flops, kernels = cost(step_of(model))
        figures[name] = {"flops": flops, "kernels": kernels.total()}
    return figures


def committed() -> dict[str, dict[str, int]]:
    """The figures that must not be passed."""
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
