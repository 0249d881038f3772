"""Stage 6: from a prompt to pixels with a random SD v1 in float16, and the decoder alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cell_parts
import cell_pictures
import torch
from pairs import Run, column, in_turn, spread, timed
from PIL import Image

from gpu.context import Context, failure
from gpu.steps import EAGER_RIVALS, OURS_COMPILED, compile_ours, peak_gib, setting

Draw = Callable[[int], Image.Image]  # by the number of steps


def measure(context: Context) -> None:
    """Eager beside diffusers, then ours compiled, then decoding."""
    size = context.sizes.image
    with torch.no_grad():
        ours, theirs = cell_pictures.everything(setting(context), context.sizes.half)
        draws: dict[str, Draw] = {
            "labml_sd": cell_pictures.our_picture(ours, size, 7.5),
        } | {
            name: cell_pictures.their_picture(theirs[name], size, 7.5) for name in EAGER_RIVALS
        }
        time_images(context, draws)
        compile_ours(ours.unet, context)
        time_images(context, {OURS_COMPILED: cell_pictures.our_picture(ours, size, 7.5)})
        del ours, theirs
        for pixels in context.sizes.decoded:
            decode(context, pixels)


def time_images(context: Context, draws: dict[str, Draw]) -> None:
    """After two short images each, whole ones in turn."""
    steps = context.sizes.steps
    for draw in draws.values():
        draw(2)
        draw(2)
    runs = {name: timed(partial(draw, steps), context.device) for name, draw in draws.items()}
    for name, found in time_in_turn(context, runs, "images").items():
        context.record("whole image", contender=name, steps=steps, **found)


def decode(context: Context, pixels: int) -> None:
    """The decoder beside theirs, if both give the same image."""
    try:
        given: Any = cell_parts.autoencoder(
            setting(context), what="decode", size=pixels, dtype=context.sizes.half
        )
        with given as contest:
            for name, found in time_in_turn(context, contest.runs, "decode").items():
                contender = name.replace("ours", "labml_sd")
                context.record("decode", contender=contender, pixels=pixels, **found)
    except RuntimeError as error:
        context.record("failed cell", what="decode", pixels=pixels, message=failure(error))


def time_in_turn(context: Context, runs: dict[str, Run], label: str) -> dict[str, Any]:
    """Seconds and peak memory of each."""
    readings = in_turn(runs, repeats=context.sizes.rounds, budget=5, warm_ups=0, label=label)
    return {
        name: {
            "seconds": spread(column(of)),
            "peak_gib": peak_gib(of),
        }
        for name, of in readings.items()
    }
