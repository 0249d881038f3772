r"""Does the picture show what the prompt says? Measured by the probe, over many prompts.

Room       training, called by command.py
Maps       model, probe  ->  share of right attributes with its interval, PSNR, Frechet distance; a report
See        tests/training/test_evaluate.py
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.image import to_pil, to_tensor
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import txt2img
from labml_sd.training.data import image_batch
from labml_sd.training.frechet import frechet_distance
from labml_sd.training.judge import ROWS, Share, Shares, tally
from labml_sd.training.probe import Probe, Sight, look
from labml_sd.training.scenes import Scene, Split

GROUPS: dict[str, tuple[Split, int]] = {
    "one object": ("train", 1),
    "two objects": ("train", 2),
    "held-out pair": ("held_out", 1),
}
SEED = 1_000_003  # of the scenes that are asked for; no training uses it
BATCH = 64  # pictures drawn and read at a time

_EXPLAINED = """\
Each prompt names every attribute of a scene; the probe, a classifier that has learnt from drawn scenes alone,
reads the picture. *count*: as many objects as asked for. *kind*: the object is there, anywhere; its *colour*,
*place* and *size* are read off it, or, when the kind is missing, off whatever stands where it was asked for.
*binding*: of prompts with two kinds in two colours, those where each kind has its colour. *mean*: of the
attributes above it but binding. *whole*: everything right at once. Held-out pairs of kind and colour were
never drawn in training. The last two columns show the probe scenes as drawn, and after the autoencoder.
Percent of the pictures; in brackets Wilson's 95% interval, each picture counted once."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to draw and how much."""

    n_prompts: int = 500  # of each group
    steps: int = 20
    sampler: str = "dpmpp_2m"
    guidance_scale: float | None = None  # None: the model's own


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that was measured."""

    model: str
    settings: Settings
    guidance_scale: float  # that was used
    groups: dict[str, Shares]
    renders: Shares  # the probe's own accuracy
    decoded: Shares  # the same scenes after the autoencoder
    psnr: float  # dB, of the mean square error over all these scenes
    frechet: float  # drawn by the model against drawn by code
    frechet_floor: float  # two sets drawn by code, as large

    def report(self) -> str:
        """A Markdown text."""
        columns = {**self.groups, "drawn by code": self.renders, "after the autoencoder": self.decoded}
        s = self.settings
        lines = [
            f"# What {self.model} shows of what it is asked for",
            "",
            f"{s.n_prompts} prompts of each kind (seed {SEED}), {s.steps} steps of {s.sampler}, "
            f"guidance {self.guidance_scale:g}.",
            "",
            "| | " + " | ".join(columns) + " |",
            "|---|" + "---|" * len(columns),
            *(_row(name, [shares.get(name) for shares in columns.values()]) for name in ROWS),
            "",
            _EXPLAINED,
            "",
            f"Autoencoder: PSNR {self.psnr:.2f} dB on fresh scenes.",
            f"Frechet distance on the probe's features: {self.frechet:.3f} "
            f"(two sets of drawn scenes of that size: {self.frechet_floor:.3f}).",
        ]
        return "\n".join(lines) + "\n"


def _row(name: str, shares: list[Share | None]) -> str:
    cells = []
    for share in shares:
        if share is None:
            cells.append("-")
            continue
        low, high = share.interval
        cells.append(f"{100 * share.mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return f"| {name} | " + " | ".join(cells) + " |"


def evaluate(
    model: LatentDiffusion, probe: Probe, settings: Settings | None = None, *, progress: bool = True
) -> Evaluation:
    """Draw every group's prompts, read the pictures, and compare. `probe` is trained, `model` ready to draw.

    A function of its arguments: scenes and noise are fixed. Raises GenerationError for impossible settings.
    """
    settings = settings or Settings()
    n, size = settings.n_prompts, model.config.image_size
    asked = {g: _scenes(SEED, n, split, n_objects) for g, (split, n_objects) in GROUPS.items()}
    bar = tqdm(total=n * len(GROUPS), desc="evaluate", disable=not progress, dynamic_ncols=True)
    with bar:
        seen = {g: _read(probe, _drawn(model, scenes, settings, bar.update)) for g, scenes in asked.items()}
    usual = [g for g, (split, _) in GROUPS.items() if split == "train"]
    code = [_scenes(seed, n, *GROUPS[g]) for seed in (SEED, SEED + 1) for g in usual]
    drawn = [_read(probe, _rendered(scenes, size)).features for scenes in code]
    first, second = torch.cat(drawn[: len(usual)]), torch.cat(drawn[len(usual) :])
    renders, decoded, psnr = round_trip(model, probe, n)
    scale = settings.guidance_scale
    return Evaluation(
        model=model.config.name,
        settings=settings,
        guidance_scale=model.config.guidance_scale if scale is None else scale,
        groups={g: tally(asked[g], seen[g].scenes) for g in GROUPS},
        renders=renders,
        decoded=decoded,
        psnr=psnr,
        frechet=frechet_distance(torch.cat([seen[g].features for g in usual]), second),
        frechet_floor=frechet_distance(first, second),
    )


@torch.inference_mode()
def round_trip(model: LatentDiffusion, probe: Probe, n: int) -> tuple[Shares, Shares, float]:
    """The probe on `n` fresh scenes, on their round trips through the autoencoder, and the PSNR in dB."""
    scenes = [Scene.sample(SEED, index) for index in range(n)]
    before, after, error = [], [], 0.0
    for images in _rendered(scenes, model.config.image_size):
        decoded = _eight_bit(model.decode_latent(model.encode_image(images)))
        before += look(probe, images).scenes
        after += look(probe, decoded).scenes
        error += float((decoded - images).double().square().mean(dim=(1, 2, 3)).sum())
    psnr = 10 * math.log10(4 / max(error / n, 1e-20))
    return tally(scenes, before), tally(scenes, after), psnr


def _scenes(seed: int, n: int, split: Split, n_objects: int) -> list[Scene]:
    return [Scene.sample(seed, index, split, n_objects) for index in range(n)]


def _rendered(scenes: list[Scene], size: int) -> Iterator[Float[Tensor, "b 3 h w"]]:
    for first in range(0, len(scenes), BATCH):
        yield image_batch(scenes[first : first + BATCH], size)


def _drawn(
    model: LatentDiffusion, scenes: list[Scene], settings: Settings, told: Callable[[int], object]
) -> Iterator[Float[Tensor, "b 3 h w"]]:
    """The model's pictures of the full captions. Picture i has seed i, whatever the batch."""
    for first in range(0, len(scenes), BATCH):
        prompts = [scene.caption(full=True) for scene in scenes[first : first + BATCH]]
        pictures = txt2img(
            model, prompts, seed=first, steps=settings.steps, sampler=settings.sampler,
            guidance_scale=settings.guidance_scale, progress=False,
        )  # fmt: skip
        told(len(pictures))
        yield torch.cat([to_tensor(picture) for picture in pictures])


def _eight_bit(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """As a user sees them: through a picture and back."""
    return torch.cat([to_tensor(picture) for picture in to_pil(images)])


def _read(probe: Probe, batches: Iterator[Float[Tensor, "b 3 h w"]]) -> Sight:
    sights = [look(probe, images) for images in batches]
    scenes = [scene for sight in sights for scene in sight.scenes]
    return Sight(scenes, torch.cat([sight.features for sight in sights]))
