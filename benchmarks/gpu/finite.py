"""Stage 7: float16 gives no NaN: 16 prompts, with the bundled model and with a random SD v1."""

import warnings

import torch
from files import tokenizer
from networks import PARTS, our_model
from torch import Tensor

import labml_sd as sd
from gpu.context import Context
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import Step

THINGS = ("house", "boat", "tree", "cat")
COLOURS = ("red", "green", "blue", "yellow")
PROMPTS = [f"a {colour} {thing} at night" for thing in THINGS for colour in COLOURS]


def measure(context: Context) -> None:
    """The pipelines look at every step themselves; here the largest numbers are kept too."""
    bundled = sd.load_model(device=context.device, dtype=context.sizes.half)
    watch(context, "bundled", bundled, bundled.config.image_size)
    words = tokenizer(context.work / "files")
    large = our_model(PARTS, context.sizes.half, context.device, words, context.sizes.model)
    watch(context, "random SD v1", large, context.sizes.image)


def watch(context: Context, name: str, model: LatentDiffusion, size: int) -> None:
    """Draw all prompts, some at a time. An image with NaN is an error of the pipeline."""
    prompts, batch = PROMPTS[: context.sizes.prompts], context.sizes.prompt_batch
    largest: list[Tensor] = []

    def on_step(step: Step) -> None:
        largest.append(torch.stack([one.abs().max() for one in (step.x, step.x0, step.eps)]))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for first in range(0, len(prompts), batch):
            sd.txt2img(
                model,
                prompts[first : first + batch],
                height=size,
                width=size,
                steps=context.sizes.bundled_steps,
                on_step=on_step,
                progress=False,
            )
    x, x0, eps = torch.stack(largest).amax(dim=0).tolist()
    again = sum("float16" in str(one.message) for one in told)
    context.record(
        "images without NaN", model=name, prompts=len(prompts), again_in_float32=again,
        largest_x=x, largest_x0=x0, largest_eps=eps,
    )  # fmt: skip
