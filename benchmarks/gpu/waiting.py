"""Stage 4: between its first and its last step a loop never waits for the GPU.

PyTorch can warn of each operation that makes the host wait; the warning names the line.
"""

import warnings
from collections import Counter
from pathlib import Path

import torch

import labml_sd as sd
from gpu.context import Context
from gpu.images import Job, jobs
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import SAMPLERS, Step

STEPS = 4


def measure(context: Context) -> None:
    """All jobs with all samplers, through the plain layers and through the accelerated ones."""
    samplers = context.sizes.samplers if context.dry_run else tuple(SAMPLERS)
    for fast in (False, True):
        model = sd.load_model(device=context.device, fast=fast)
        for job in jobs(model, samplers, STEPS):
            found, n_steps = waits(model, job)
            context.record("loop", job=job.name, fast=fast, steps=n_steps, waits=found)


def waits(model: LatentDiffusion, job: Job) -> tuple[dict[str, int], int]:
    """How often each line of Python waited, and how many steps were seen."""
    job.draw(model)  # what is made once, at the first image, may wait
    watch = Watch(model.device.type == "cuda")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            job.draw(model, on_step=watch)
        finally:
            watch.mode("default")
    found = Counter(
        f"{Path(one.filename).name}:{one.lineno}"
        for one in told
        if "synchroniz" in str(one.message)
    )
    return dict(found), watch.n_steps


class Watch:
    """As `on_step`: between the first step and the last, PyTorch warns of waiting."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu, self.n_steps = on_gpu, 0

    def __call__(self, step: Step) -> None:
        """Count the step; look at none of its numbers, for that would wait."""
        self.n_steps += 1
        self.mode("default" if step.index == step.n_steps - 1 else "warn")

    def mode(self, name: str) -> None:
        """What PyTorch does when the host waits."""
        if self.on_gpu:
            torch.cuda.set_sync_debug_mode(name)
