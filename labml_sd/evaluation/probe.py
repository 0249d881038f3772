r"""The probe: a small network that reads every attribute off a picture. It judges what the model draws.

Maps       image [b 3 H W] in [-1, 1]  ->  logits [b k], features [b d], and the scene that is read
Tests      tests/evaluation/test_probe.py

It learns from drawn scenes alone and never sees an output of the model. What it reads is a
`Scene` again: sky, ground, light, and for each place the kind there (or none), its colour and
its size.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from labml_sd.tiny.recipe import StageRecipe
from labml_sd.tiny.scenes import (
    COLOURS,
    GROUNDS,
    KINDS,
    PLACES,
    SIZES,
    SKIES,
    Light,
    Scene,
    SceneObject,
)
from labml_sd.training.data import generator, image_batch
from labml_sd.training.image_grid import save_rows
from labml_sd.training.loop import train
from labml_sd.training.precision import autocast

LIGHTS: tuple[Light | None, ...] = (None, "sun", "moon")
_AT_A_PLACE = (1 + len(KINDS), len(COLOURS), len(SIZES))  # kind 0 is "nothing there"
WIDTHS = (len(SKIES), len(GROUNDS), len(LIGHTS), *_AT_A_PLACE * len(PLACES))
"""How many answers each question has. The questions: sky, ground, light; kind, colour, size at each place."""
NO_ANSWER = -100  # the colour and the size of nothing

BLUR, NOISE, BRIGHTNESS = 5, 0.03, 0.05  # pixels; standard deviation; share


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe(StageRecipe):
    """Learn to read."""

    n_steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 2e-3
    image_size: int = 128  # of the scenes it learns from
    grid: int = 64  # it sees this many points a side: the smallest object is 14 of them wide
    channels: int = 32
    d_features: int = 256


class Probe(nn.Module):
    """Four strided convolutions, a layer of features, and one answer to each question.

    The last map is flattened, not averaged: left and right must stay apart.
    """

    def __init__(self, recipe: ProbeRecipe) -> None:
        super().__init__()
        self.grid = recipe.grid
        c = recipe.channels
        layers: list[nn.Module] = []
        for a, b in pairwise((3, c, 2 * c, 4 * c, 4 * c)):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.to_features = nn.Linear(4 * c * (recipe.grid // 16) ** 2, recipe.d_features)
        self.heads = nn.Linear(recipe.d_features, sum(WIDTHS))

    def features(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        """What all answers are read from; pictures of any size are averaged to the grid first."""
        maps = self.convolutions(F.adaptive_avg_pool2d(image, self.grid))
        return F.silu(self.to_features(rearrange(maps, "b c h w -> b (c h w)")))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k"]:
        """Logits of all answers to all questions, side by side."""
        return self.heads(self.features(image))


def encode(scene: Scene) -> list[int]:
    """The right answers. `NO_ANSWER` for the colour and the size at an empty place."""
    answers = [SKIES.index(scene.sky), GROUNDS.index(scene.ground), LIGHTS.index(scene.light)]
    at = {thing.place: thing for thing in scene.objects}
    for place in PLACES:
        if place in at:
            thing = at[place]
            answers += [
                1 + KINDS.index(thing.kind),
                COLOURS.index(thing.colour),
                SIZES.index(thing.size),
            ]
        else:
            answers += [0, NO_ANSWER, NO_ANSWER]
    return answers


def decode(answers: Sequence[int]) -> Scene:
    """The scene that answers describe, its objects from left to right. The inverse of `encode`."""
    sky, ground, light, *rest = answers
    things = tuple(
        SceneObject(KINDS[kind - 1], COLOURS[colour], place, SIZES[size])
        for place, kind, colour, size in zip(
            PLACES, rest[0::3], rest[1::3], rest[2::3], strict=True
        )
        if kind > 0
    )
    return Scene(SKIES[sky], GROUNDS[ground], LIGHTS[light], things)


def answers_apart(logits: Float[Tensor, "b k"]) -> tuple[Float[Tensor, "b _"], ...]:
    """The logits of each question by themselves."""
    return torch.split_with_sizes(logits, WIDTHS, dim=1)


def best_answers(logits: Float[Tensor, "b k"]) -> Int[Tensor, "b q"]:
    """The likeliest answer to each question."""
    return torch.stack([part.argmax(dim=1) for part in answers_apart(logits)], dim=1)


@dataclass(frozen=True)
class Sight:
    """What the probe makes of pictures."""

    scenes: list[Scene]
    features: Float[Tensor, "n d"]  # float64, on the CPU


@torch.inference_mode()
def look(probe: Probe, images: Float[Tensor, "n 3 H W"]) -> Sight:
    """Read a batch of pictures, in float32."""
    features = probe.features(images.float().to(next(probe.parameters()).device))
    answers = best_answers(probe.heads(features)).tolist()
    return Sight([decode(row) for row in answers], features.double().cpu())


def free_scene(seed: int, index: int) -> Scene:
    """A scene of any parts: a boat in the snow, the sun at night, up to three objects, every colour.

    A model may draw what the captions' world does not have, and the probe must see it. Had it
    learnt from that world alone, it would tell the moon by the night and the boat by the sea.
    """
    rng = random.Random(f"free scene {seed} {index}")
    things: list[SceneObject] = []
    for place in sorted(rng.sample(PLACES, rng.randrange(4)), key=PLACES.index):
        size = rng.choice(SIZES)
        if (
            things and things[-1].size == "large"
        ):  # it may stand beside, and two large ones would overlap
            size = "small"
        things.append(SceneObject(rng.choice(KINDS), rng.choice(COLOURS), place, size))
    light = rng.choice(LIGHTS)
    if len(things) == len(PLACES) and any(thing.kind == "balloon" for thing in things):
        light = None  # no column is free: a balloon could hide it
    return Scene(
        rng.choice(SKIES), rng.choice(GROUNDS), light, tuple(things), jitter=rng.getrandbits(32)
    )


def probe_scenes(seed: int, step: int, n: int) -> list[Scene]:
    """The scenes of one step: half of them free, a quarter usual, a quarter with a held-out pair."""
    indices = range(step * n, step * n + n)
    return [
        free_scene(seed, i)
        if i % 2
        else Scene.sample(seed, i, split="train" if i % 4 else "held_out")
        for i in indices
    ]


def disturb(images: Float[Tensor, "b 3 h w"], draw: Generator) -> Float[Tensor, "b 3 h w"]:
    """Blur half of the pictures, add a little noise, change the brightness a little.

    A round trip through the autoencoder is softer than a drawing. The probe shall read what is
    shown, not judge how crisp it is.
    """
    n, edge = len(images), BLUR // 2
    soft = F.avg_pool2d(F.pad(images, (edge,) * 4, mode="reflect"), BLUR, stride=1)
    share, blurred, light = torch.rand((3, n, 1, 1, 1), generator=draw)
    images = torch.lerp(images, soft, share * (blurred < 0.5))
    images = (images + 1.0) * (1.0 + BRIGHTNESS * (2.0 * light - 1.0)) - 1.0
    return images + NOISE * torch.randn(images.shape, generator=draw)


def probe_loss(logits: Float[Tensor, "b k"], truth: Int[Tensor, "b q"]) -> Float[Tensor, ""]:
    r"""Cross-entropy, a sum over the questions that have an answer and a mean over the batch.

    $$ L = -\frac{1}{b} \sum_i \sum_{q} \log p_q(a_{iq} \mid x_i) $$
    """
    parts = [
        F.cross_entropy(part, truth[:, q], ignore_index=NO_ANSWER, reduction="sum")
        for q, part in enumerate(answers_apart(logits))
    ]
    return torch.stack(parts).sum() / len(logits)


class ProbeTask:
    """The loss of one step, for the training loop."""

    name = "probe"

    def __init__(self, recipe: ProbeRecipe, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe, seed, device
        self.probe = Probe(recipe).to(device)
        self.networks: nn.Module = self.probe

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Cross-entropy, and the share of right answers."""
        scenes = probe_scenes(self.seed, step, self.recipe.batch_size)
        draw = generator(self.seed, step, "probe")
        images = disturb(image_batch(scenes, self.recipe.image_size), draw).to(self.device)
        truth = torch.tensor([encode(scene) for scene in scenes], device=self.device)
        with autocast(self.device):
            logits = self.networks(images)
        logits = logits.float()
        right = (best_answers(logits.detach()) == truth)[truth != NO_ANSWER]
        return {"loss": probe_loss(logits, truth), "accuracy": right.float().mean()}

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Eight new scenes over what is read from them, drawn again."""
        assert isinstance(networks, Probe)
        scenes, size = probe_scenes(self.seed + 1, 0, 8), self.recipe.image_size
        images = image_batch(scenes, size)
        seen = look(networks.eval(), images).scenes
        again = [replace(s, jitter=scene.jitter) for s, scene in zip(seen, scenes, strict=True)]
        save_rows([images, image_batch(again, size)], path)


def train_probe(
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    recipe: ProbeRecipe | None = None,
    progress: bool = True,
) -> Probe:
    """The probe of a folder: trained, trained further where it was stopped, or read from `probe.pt`."""
    task = ProbeTask(recipe or ProbeRecipe(), seed, device)
    train(task, folder, progress=progress)
    return task.probe.eval().requires_grad_(False)
