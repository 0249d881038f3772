"""Stage 8: whole images of a random SD v1 whose networks wait on the CPU: time and memory."""

import copy
from typing import Any

import cell_pictures
import torch
from files import tokenizer
from networks import PARTS, our_model
from pairs import timed

from gpu.context import Context
from gpu.whole_images import time_in_turn
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.offload import Offloaded


def measure(context: Context) -> None:
    """The same weights on the GPU and offloaded, in turn, after a short image of each."""
    size, steps = context.sizes.image, context.sizes.steps
    models = both(context)
    draws = {name: cell_pictures.our_picture(m, size, 7.5) for name, m in models.items()}
    first = {name: draw(2).tobytes() for name, draw in draws.items()}
    runs = {
        name: timed(lambda draw=draw: draw(steps), context.device)
        for name, draw in draws.items()
    }
    for name, found in time_in_turn(context, runs, "images").items():
        context.record(
            "offload",
            contender=name,
            steps=steps,
            seconds=found["seconds"],
            peak_gib=with_weights(found["peak_gib"], models[name]),
            same_image=first[name] == first["labml_sd"],
        )


def both(context: Context) -> dict[str, LatentDiffusion]:
    """A model on the GPU, and its copy that waits on the CPU."""
    words: Any = tokenizer(context.work / "files")
    held = our_model(PARTS, context.sizes.half, context.device, words, context.sizes.model)
    waiting = copy.deepcopy(held, {id(words): words}).cpu()
    torch.cuda.empty_cache()
    return {"labml_sd": held, "labml_sd offload": Offloaded(waiting, context.device)}


def with_weights(peak_gib: float | None, model: LatentDiffusion) -> float | None:
    """The peak with the weights that were on the GPU before, which `timed` does not count."""
    if peak_gib is None:
        return None
    return peak_gib + sum(w.nbytes for w in model.parameters() if w.is_cuda) / 2**30
