r"""The probe: a small classifier that reads every attribute of a scene from a picture.

Maps       image [b 3 H W] in [-1, 1]  ->  logits [b k], features [b d]  ->  Scene
Tests      tests/evaluation/test_probe.py

It is trained on drawn scenes only and never on pictures of the model. It answers with sky,
ground, light, and for each place the kind of the object there (or none), its colour and size.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
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
from labml_sd.training.augment import augment
from labml_sd.training.data import generator, image_batch
from labml_sd.training.loop import train
from labml_sd.training.progress import save_rows
from labml_sd.utilities.device import autocast

LIGHTS: tuple[Light | None, ...] = (None, "sun", "moon")
_AT_A_PLACE = (1 + len(KINDS), len(COLOURS), len(SIZES))  # kind 0 is "no object"
WIDTHS = (len(SKIES), len(GROUNDS), len(LIGHTS), *_AT_A_PLACE * len(PLACES))
"""Number of answers to each question: sky, ground, light; kind, colour, size for each place."""
NO_ANSWER = -100  # for the colour and the size at an empty place


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe(StageRecipe):
    """Learn to read scenes."""

    n_steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 2e-3
    image_size: int = 128  # of the scenes it is trained on
    grid: int = 64  # side to which pictures are reduced; the smallest object is 14 wide
    channels: int = 32
    d_features: int = 256


class Probe(nn.Module):
    """Four strided convolutions, a linear layer of features, one classifier a question.

    The last map is flattened, not averaged, to keep left and right apart.
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
        """The input of all classifiers. Pictures of any size are first averaged to the grid."""
        # [b 4c grid/16 grid/16]
        maps = self.convolutions(F.adaptive_avg_pool2d(image, self.grid))
        return F.silu(self.to_features(rearrange(maps, "b c h w -> b (c h w)")))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b k"]:
        """Logits of all answers to all questions, concatenated."""
        return self.heads(self.features(image))


def encode(scene: Scene) -> list[int]:
    """The right answers, `NO_ANSWER` for the colour and the size at an empty place."""
    answers = [SKIES.index(scene.sky), GROUNDS.index(scene.ground), LIGHTS.index(scene.light)]
    objects = {item.place: item for item in scene.objects}
    for item in map(objects.get, PLACES):
        if item is None:
            answers += [0, NO_ANSWER, NO_ANSWER]
        else:
            kind = 1 + KINDS.index(item.kind)
            answers += [kind, COLOURS.index(item.colour), SIZES.index(item.size)]
    return answers


def decode(answers: Sequence[int]) -> Scene:
    """The inverse of `encode`: the scene of these answers, with objects from left to right."""
    sky, ground, light, *rest = answers
    at_places = zip(PLACES, rest[0::3], rest[1::3], rest[2::3], strict=True)
    objects = tuple(
        SceneObject(KINDS[kind - 1], COLOURS[colour], place, SIZES[size])
        for place, kind, colour, size in at_places
        if kind > 0
    )
    return Scene(SKIES[sky], GROUNDS[ground], LIGHTS[light], objects)


def best_answers(logits: Float[Tensor, "b k"]) -> Int[Tensor, "b q"]:
    """The most likely answer to each question."""
    parts = torch.split_with_sizes(logits, WIDTHS, dim=1)
    return torch.stack([part.argmax(dim=1) for part in parts], dim=1)


@dataclass(frozen=True)
class Readings:
    """What was read from pictures."""

    scenes: list[Scene]
    features: Float[Tensor, "n d"]  # of the probe, in float64 on the CPU
    clip: Float[Tensor, "n e"] | None = None  # embeddings of CLIP's image tower


@torch.inference_mode()
def read_images(probe: Probe, images: Float[Tensor, "n 3 H W"]) -> Readings:
    """Read a batch of pictures, in float32."""
    features = probe.features(images.float().to(next(probe.parameters()).device))
    answers = best_answers(probe.heads(features)).tolist()
    return Readings([decode(row) for row in answers], features.double().cpu())


def free_scene(seed: int, index: int) -> Scene:
    """A scene of any combination: a boat in the snow, the sun at night, up to three objects.

    A model can draw combinations that no caption describes, and the probe must read them.
    Trained on usual scenes only, it could infer the moon from the night or a boat from the sea.
    """
    rng = random.Random(f"free scene {seed} {index}")
    objects: list[SceneObject] = []
    for place in sorted(rng.sample(PLACES, rng.randrange(4)), key=PLACES.index):
        size = rng.choice(SIZES)
        if objects and objects[-1].size == "large":
            size = "small"  # two large objects could overlap
        objects.append(SceneObject(rng.choice(KINDS), rng.choice(COLOURS), place, size))
    light = rng.choice(LIGHTS)
    if len(objects) == len(PLACES) and any(item.kind == "balloon" for item in objects):
        light = None  # there is no free column, and a balloon could hide it
    sky, ground = rng.choice(SKIES), rng.choice(GROUNDS)
    return Scene(sky, ground, light, tuple(objects), jitter=rng.getrandbits(32))


def probe_scenes(seed: int, step: int, n: int) -> list[Scene]:
    """The scenes of one step: half free, a quarter usual, a quarter with a held-out pair."""
    indices = range(step * n, step * n + n)
    return [
        free_scene(seed, i)
        if i % 2
        else Scene.sample(seed, i, split="train" if i % 4 else "held_out")
        for i in indices
    ]


def probe_loss(logits: Float[Tensor, "b k"], truth: Int[Tensor, "b q"]) -> Float[Tensor, ""]:
    r"""Cross-entropy, summed over the questions with an answer, averaged over the batch.

    $$ L = -\frac{1}{b} \sum_i \sum_{q} \log p_q(a_{iq} \mid x_i) $$
    """
    logits_of = torch.split_with_sizes(logits, WIDTHS, dim=1)
    parts = [
        F.cross_entropy(part, answers, ignore_index=NO_ANSWER, reduction="sum")
        for part, answers in zip(logits_of, truth.T, strict=True)
    ]
    return torch.stack(parts).sum() / len(logits)


class ProbeTask:
    """Read the attributes of augmented scenes."""

    name = "probe"

    def __init__(self, recipe: ProbeRecipe, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe, seed, device
        self.probe = Probe(recipe).to(device)
        self.networks: nn.Module = self.probe

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """The cross-entropy, and the share of right answers."""
        scenes = probe_scenes(self.seed, step, self.recipe.batch_size)
        draw = generator(self.seed, step, "probe")
        images = augment(image_batch(scenes, self.recipe.image_size), draw).to(self.device)
        truth = torch.tensor([encode(scene) for scene in scenes], device=self.device)
        with autocast(self.device):
            logits = self.networks(images)
        logits = logits.float()
        right = (best_answers(logits.detach()) == truth)[truth != NO_ANSWER]
        return {"loss": probe_loss(logits, truth), "accuracy": right.float().mean()}

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Eight new scenes, and below them drawings of what the probe reads."""
        assert isinstance(networks, Probe)
        scenes, size = probe_scenes(self.seed + 1, 0, 8), self.recipe.image_size
        images = image_batch(scenes, size)
        seen = read_images(networks.eval(), images).scenes
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
    """The probe of a folder: trained, or loaded from `probe.pt` if training is complete."""
    task = ProbeTask(recipe or ProbeRecipe(), seed, device)
    train(task, folder, progress=progress)
    return task.probe.eval().requires_grad_(False)
