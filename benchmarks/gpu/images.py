"""Stage 3: the bundled model's images on the GPU beside those that the CPU makes in float32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import labml_sd as sd
from gpu.context import Context
from labml_sd.latent_diffusion import LatentDiffusion

PROMPT, EDIT, SEED = "a red house in the snow at night", "a blue boat on the sea", 7
EXACT = "float32, no TF32"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A call of a pipeline, but for the model."""

    name: str
    pipeline: Callable[..., list[Image.Image]]
    given: tuple[object, ...]
    settings: dict[str, Any]

    def draw(self, model: LatentDiffusion, **more: Any) -> Image.Image:
        """One image."""
        return self.pipeline(model, *self.given, **self.settings, **more)[0]


def jobs(model: LatentDiffusion, samplers: Sequence[str], steps: int) -> list[Job]:
    """Each job with each sampler. Both edits start from one image, which `model` draws here."""
    settings = {"steps": steps, "seed": SEED, "progress": False}
    image = sd.txt2img(model, PROMPT, **settings)[0]
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, image.width // 2, image.height))
    given = {sd.txt2img: (PROMPT,), sd.img2img: (EDIT, image), sd.inpaint: (EDIT, image, mask)}
    return [
        Job(
            name=f"{pipeline.__name__} {sampler}",
            pipeline=pipeline,
            given=what,
            settings=settings | {"sampler": sampler},
        )
        for pipeline, what in given.items()
        for sampler in samplers
    ]


def measure(context: Context) -> None:
    """Every job with every sampler, in every number format."""
    on_cpu = sd.load_model(device="cpu", dtype="float32")
    found = jobs(on_cpu, context.sizes.samplers, context.sizes.bundled_steps)
    wanted = [job.draw(on_cpu) for job in found]
    columns = {"CPU": wanted}
    for label in (EXACT, "float32", *context.sizes.halves):
        model = sd.load_model(device=context.device, dtype=label.partition(",")[0])
        torch.backends.cudnn.allow_tf32 = label != EXACT  # by default convolutions use it
        columns[label] = [job.draw(model) for job in found]
        for job, image, expected in zip(found, columns[label], wanted, strict=True):
            off = difference(image, expected)
            context.record("image", job=job.name, dtype=label, **off)
    image_grid(columns).save(context.file("images.png", "a row for each job"))


def difference(image: Image.Image, expected: Image.Image) -> dict[str, float]:
    """In grey levels: the mean, the largest, and the share that is more than 2 levels off."""
    a, b = (np.asarray(one, dtype=np.int16) for one in (image, expected))
    off = np.abs(a - b)
    return {
        "mean": float(off.mean()),
        "largest": int(off.max()),
        "share_above_2": float((off > 2).mean()),
    }


def image_grid(columns: dict[str, list[Image.Image]]) -> Image.Image:
    """A column for each number format, a row for each job, under a line of names."""
    first = next(iter(columns.values()))
    side, head = first[0].width, 16
    grid = Image.new("RGB", (side * len(columns), head + side * len(first)), "white")
    pen = ImageDraw.Draw(grid)
    for x, (label, images) in enumerate(columns.items()):
        pen.text((side * x + 2, 2), label, fill="black")
        for y, image in enumerate(images):
            grid.paste(image, (side * x, head + side * y))
    return grid
