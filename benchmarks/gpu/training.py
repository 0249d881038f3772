"""Stage 9: the bundled model's U-Net learns on from scenes that it has not seen.

What comes back: the loss, images of before and after, and the averaged weights in float16.
"""

import csv
import math
import statistics
from dataclasses import replace
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file

import labml_sd as sd
from gpu.context import Context
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import RECIPES, Recipe
from labml_sd.training.latents import encode_scenes
from labml_sd.training.loop import train
from labml_sd.training.tasks.diffusion import DiffusionTask, fresh_unet

SEED = 2_000  # the recipe's scenes are of another seed
LEARNING_RATE = 3e-4  # below the recipe's: the weights are trained already
TO_SPARE = 12.0  # seconds for the last images and files


def measure(context: Context) -> None:
    """Train until the budget is nearly over."""
    task, folder = task_of(context), context.work / "training"
    for old in folder.glob("diffusion*"):
        old.unlink()  # an earlier run is not gone on with
    folder.mkdir(exist_ok=True)
    task.picture(task.networks, folder / "before.png")
    learnt = train(
        task,
        folder,
        n_steps=context.sizes.training_steps,
        minutes=max(0.0, context.left() - TO_SPARE) / 60,
        picture_every=math.inf,
        progress=False,
    )
    context.record("training", **losses(folder / "diffusion.csv"), seed=SEED)
    weights = {name: w.half().contiguous().cpu() for name, w in learnt.state_dict().items()}
    file = context.file("unet_float16.safetensors", "the averaged weights")
    save_file(weights, file, {"format": "pt"})
    both = one_below_the_other(folder / "before.png", folder / "diffusion.png")
    both.save(context.file("training.png", "before, and below it after training"))


def task_of(context: Context) -> DiffusionTask:
    """The diffusion task, with the bundled model's U-Net in the place of a new one."""
    model: LatentDiffusion = sd.load_model(device=context.device, dtype="float32")
    weights = {name: weight.clone() for name, weight in model.unet.state_dict().items()}
    recipe = recipe_for(model, context)
    folder = context.work / "training"
    folder.mkdir(parents=True, exist_ok=True)
    latents = encode_scenes(
        model.autoencoder, SEED, context.sizes.scenes, model.config.image_size, folder,
        progress=False,
    )  # fmt: skip
    model.unet = fresh_unet(model.config.unet, SEED).to(model.device)
    task = DiffusionTask(recipe, model, latents, SEED)
    task.networks.load_state_dict(weights)
    return task


def recipe_for(model: LatentDiffusion, context: Context) -> Recipe:
    """The bundled model's recipe, at a lower learning rate and without restarts."""
    recipe = RECIPES["tiny"]
    diffusion = replace(recipe.diffusion, learning_rate=LEARNING_RATE, restarts=())
    if context.dry_run:
        diffusion = replace(diffusion, batch_size=4)
    return replace(recipe, model=model.config, diffusion=diffusion)


def losses(path: Path) -> dict[str, float]:
    """Steps, and the mean loss at both ends of the curve: every step has new noise."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    few = max(1, min(30, len(rows) // 2))
    mean = {
        end: statistics.mean(float(row["loss"]) for row in some)
        for end, some in (("first", rows[:few]), ("last", rows[-few:]))
    }
    return {
        "steps": int(float(rows[-1]["step"])),
        "first_loss": mean["first"],
        "last_loss": mean["last"],
    }


def one_below_the_other(*paths: Path) -> Image.Image:
    """Images of one width as one."""
    images = [Image.open(path) for path in paths]
    whole = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    y = 0
    for image in images:
        whole.paste(image, (0, y))
        y += image.height
    return whole
