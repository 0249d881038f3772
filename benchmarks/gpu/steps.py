"""Stage 5: a guided step of a random SD v1, in turn with diffusers on the same weights."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cell_unet
import ledger
import torch
from cells import Setting, relative_error
from pairs import Reading, column, in_turn, ratios, spread, timed
from rival_diffusers import channels_last, fused, twin
from torch import Tensor

from gpu.context import Context, failure, name_of
from gpu.sizes import Cells
from labml_sd.acceleration.compiled import compile_unet
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.unet import UNet
from labml_sd.utilities.device import DTYPES

READING = 0.1  # seconds that one reading lasts at least: that many steps follow one another
MOST_CALLS = 20
LEAST = 5.0  # seconds without which a cell is not begun
OURS_COMPILED = "labml_sd compiled"
PLAIN = "labml_sd without accelerate()"
EAGER_RIVALS = ("diffusers", "diffusers channels_last")
Given = dict[str, Tensor]
Calls = dict[str, Callable[[], Tensor]]


def measure(context: Context, variant: str) -> None:
    """One of the variants below."""
    with torch.no_grad():
        VARIANTS[variant](context)


def eager(context: Context) -> None:
    """Ours and theirs as they come, and theirs with channels last."""
    for name in context.sizes.halves:
        eager_in(context, DTYPES[name])


def eager_in(context: Context, dtype: torch.dtype) -> None:
    """In one number format; its networks are gone afterwards."""
    ours, theirs = cell_unet.networks(setting(context), dtype)
    plain = copy.copy(ours)
    plain.fast = False

    def calls(given: Given) -> Calls:
        rivals = {name: cell_unet.their_step(theirs[name], given) for name in EAGER_RIVALS}
        if dtype == context.sizes.half:
            rivals[PLAIN] = cell_unet.our_step(plain, given)
        return {"labml_sd": cell_unet.our_step(ours, given), **rivals}

    time_cells(context, context.sizes.eager, dtype, calls)


def compiled(context: Context) -> None:
    """Ours alone: blocks compiled, and on a GPU the whole step replayed as one graph."""
    ours = our_compiled(context)
    time_cells(
        context,
        context.sizes.compiled,
        context.sizes.half,
        lambda given: {OURS_COMPILED: cell_unet.our_step(ours, given)},
    )


def rival(context: Context) -> None:
    """Both compiled."""
    ours = our_compiled(context)
    theirs = their_compiled(context, ours)
    time_cells(
        context,
        context.sizes.rival_compiled,
        context.sizes.half,
        lambda given: {
            OURS_COMPILED: cell_unet.our_step(ours, given),
            "diffusers compiled": cell_unet.their_step(theirs, given),
        },
    )


def ahead(context: Context) -> None:
    """Compile beside the stages that measure no time: what is compiled is kept in a cache."""
    ours = our_compiled(context)
    theirs = their_compiled(context, ours)
    for number, (pixels, images) in enumerate(context.sizes.compiled):
        given = cell_unet.inputs(pixels, images)
        cell_unet.our_step(ours, given)()
        if (pixels, images) in context.sizes.rival_compiled:
            cell_unet.their_step(theirs, given)()
        context.record("compiled ahead", cells=number + 1)


VARIANTS = {"eager": eager, "compiled": compiled, "rival": rival, "ahead": ahead}


def setting(context: Context) -> Setting:
    """What the other benchmarks are told."""
    return Setting(
        device=context.device,
        compiled=False,
        labml_python=None,
        files=context.work / "files",
        config=context.sizes.model,
    )


def our_compiled(context: Context) -> LatentDiffusion:
    """Ours as `load_model(compile=True)` leaves it."""
    ours, _ = cell_unet.networks(setting(context), context.sizes.half)
    compile_ours(ours.unet, context)
    return ours


def compile_ours(unet: UNet, context: Context) -> None:
    """By Inductor; a dry run stops before it, for on a CPU it takes minutes."""
    compile_unet(unet, "eager" if context.dry_run else "inductor")


def their_compiled(context: Context, ours: LatentDiffusion) -> Any:
    """Theirs in its fastest setting, whole and with CUDA graphs.

    Their page names "max-autotune", which would tune for minutes.
    """
    theirs = fused(channels_last(twin("unet", ours.unet, ours.config)))
    if context.dry_run:
        theirs.compile(backend="eager")
    else:
        theirs.compile(mode="reduce-overhead", fullgraph=True, dynamic=False)
    return theirs


def time_cells(
    context: Context, cells: Cells, dtype: torch.dtype, calls: Callable[[Given], Calls]
) -> None:
    """One cell after the other. Where one fails the others go on, and then the stage fails."""
    failed = 0
    for pixels, images in cells:
        name = {"pixels": pixels, "images": images, "dtype": name_of(dtype)}
        if context.left() < LEAST:
            context.record("left out", **name)
            continue
        try:
            time_cell(context, calls(cell_unet.inputs(pixels, images)), pixels, images, dtype)
        except Exception as error:
            context.record("failed cell", **name, message=failure(error))
            failed += 1
    if failed:
        raise RuntimeError(f"{failed} of {len(cells)} cells failed")


def time_cell(
    context: Context, calls: Calls, pixels: int, images: int, dtype: torch.dtype
) -> None:
    """Compare the answers, then time all in turn."""
    answers = {name: call().clone() for name, call in calls.items()}
    first = next(iter(calls))
    counts = {name: calls_a_reading(call, context.device) for name, call in calls.items()}
    readings = in_turn(
        {
            name: timed(partial(repeat, calls[name], n), context.device)
            for name, n in counts.items()
        },
        repeats=context.sizes.rounds,
        budget=min(10.0, context.left() / 2),
        warm_ups=1,
        label=f"{pixels} px, {images} images",
    )
    seconds = {name: [s / n for s in column(readings[name])] for name, n in counts.items()}
    flops = ledger.unet(pixels, 2 * images, context.sizes.model).total
    for name in calls:
        typical = spread(seconds[name])
        context.record(
            "step",
            contender=name,
            pixels=pixels,
            images=images,
            dtype=name_of(dtype),
            seconds=typical,
            ratio=spread([1.0]) if name == first else ratios(seconds[first], seconds[name]),
            error=relative_error(answers[first], answers[name]),
            tflops=flops / typical["median"] / 1e12,
            peak_gib=peak_gib(readings[name]),
        )


def calls_a_reading(call: Callable[[], object], device: torch.device) -> int:
    """How many calls take READING seconds: one alone would measure how it starts."""
    repeat(call, 2)
    seconds = timed(call, device)()["seconds"]
    return min(MOST_CALLS, max(1, math.ceil(READING / seconds)))


def peak_gib(readings: Sequence[Reading]) -> float | None:
    """The most memory that a call needed, the weights not counted; unknown on a CPU."""
    return max((one["peak_gib"] for one in readings if "peak_gib" in one), default=None)


def repeat(call: Callable[[], object], n: int) -> None:
    """So many calls, one after the other."""
    for _ in range(n):
        call()
