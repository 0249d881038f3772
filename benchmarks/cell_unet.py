"""Cells of the U-Net step: one guided evaluation, as in the sampling loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import Any

import ledger
import torch
from cells import Cell, Comparison, Setting, timed_if_agreed
from networks import our_model
from ours import guided_step, variants
from rival_diffusers import settings_of, twin
from rival_engines import engines
from rival_labml import fits, labml
from torch import Tensor

from labml_sd.acceleration.compiled import compile_unet
from labml_sd.latent_diffusion import LatentDiffusion

SCALE = 7.5


def networks(setting: Setting, dtype: torch.dtype) -> tuple[LatentDiffusion, dict[str, Any]]:
    """Ours, and diffusers' in each setting, all on the same random weights."""
    ours = our_model(["unet"], dtype, setting.device, config=setting.config)
    if setting.compiled:
        compile_unet(ours.unet)
    return ours, settings_of(twin("unet", ours.unet, ours.config), setting)


def inputs(size: int, batch: int) -> dict[str, Tensor]:
    """A latent, both prompts, the scale, and the times of a run: a call takes the next time."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "x": (batch, 4, size // 8, size // 8),
        "uncond": (batch, 77, 768),
        "cond": (batch, 77, 768),
    }
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**drawn, "scale": torch.tensor(SCALE), "times": torch.arange(999.0, 0, -50)}


def our_step(model: LatentDiffusion, given: dict[str, Tensor]) -> Callable[[], Tensor]:
    """As the pipelines evaluate the network: from the prompts' embeddings to guided noise."""
    levels = cycle([model.schedule.level(t) for t in given["times"].tolist()])
    x = given["x"].to(model.device)  # the state of a run is float32
    cond, uncond = (given[name].to(model.device, model.dtype) for name in ("cond", "uncond"))
    step = guided_step(model, cond, uncond, SCALE)
    return lambda: step(x, next(levels))


def their_step(unet: Any, given: dict[str, Tensor]) -> Callable[[], Tensor]:
    """One pass of the loop in StableDiffusionPipeline, without the scheduler."""
    device, dtype = unet.device, unet.dtype
    times = cycle(given["times"].long().to(device))
    x = given["x"].to(device, dtype)
    both = torch.cat([given["uncond"], given["cond"]]).to(device, dtype)

    def step() -> Tensor:
        eps = unet(
            torch.cat([x] * 2), next(times), encoder_hidden_states=both, return_dict=False
        )[0]
        eps_uncond, eps_cond = eps.chunk(2)
        return eps_uncond + SCALE * (eps_cond - eps_uncond)

    return step


@contextmanager
def comparison(
    setting: Setting, *, size: int, batch: int, dtype: torch.dtype
) -> Iterator[Comparison]:
    """Ours against diffusers, and labml_nn where it can compute this."""
    ours, theirs = setting.shelf.get(("unet", dtype), lambda: networks(setting, dtype))
    given = inputs(size, batch)
    calls = {
        name: our_step(model, given)
        for name, model in variants(ours, plain=setting.plain).items()
    }
    calls |= {name: their_step(unet, given) for name, unet in theirs.items()}
    labml_can = dtype == torch.float32 and setting.device.type == "cpu" and fits(size, batch)
    python = setting.labml_python if labml_can else None
    first = next(iter(theirs.values()))
    with (
        labml(python, "unet", "step", ours.unet, given, setting.files) as child,
        engines(setting, "step", first, given, dtype) as others,
    ):
        runs = timed_if_agreed(calls, dtype, setting.device, child | others)
        flops = ledger.unet(size, 2 * batch, setting.config).total
        warm_ups = 5 if setting.device.type == "cuda" else 0  # on a CPU the check was one
        yield Comparison(runs=runs, flops=flops, dtype=dtype, pictures=batch, warm_ups=warm_ups)


def cell(size: int, batch: int, dtype: torch.dtype, *, quick: bool, device: str) -> Cell:
    """One size, batch and type."""
    number = str(dtype).removeprefix("torch.")
    name = f"U-Net step {size}, {batch} picture{'s' * (batch > 1)}, {number}"
    enter = partial(comparison, size=size, batch=batch, dtype=dtype)
    return Cell(name=name, enter=enter, quick=quick, dtype=dtype, devices=(device,))


def cells() -> list[Cell]:
    """Cells of one number type follow one another: they use the same networks."""
    quick_on_cpu = {(256, 1), (512, 1)}
    found = [
        cell(size, batch, dtype, quick=(size, batch) in quick_on_cpu, device="cpu")
        for dtype in (torch.bfloat16, torch.float32)
        for size in (256, 512, 768)
        for batch in (1, 4)
    ]
    return found + [
        cell(size, batch, dtype, quick=size == 512 and dtype != torch.float32, device="cuda")
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
        for size in (256, 512, 768)
        for batch in (1, 4, 16)
    ]
