r"""Scenes of which every attribute is known, and their captions.

Maps       (seed, index, split)  ->  Scene  ->  English caption
Tests      tests/tiny/test_scenes.py
"""

import random
from dataclasses import dataclass
from typing import Literal, get_args

Sky = Literal["day", "sunset", "night"]
Ground = Literal["grass", "beach", "snow", "sea"]
Light = Literal["sun", "moon"]
Kind = Literal["house", "tree", "boat", "car", "balloon", "cat"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
Place = Literal["left", "middle", "right"]
Size = Literal["small", "large"]
Split = Literal["train", "held_out"]

SKIES: tuple[Sky, ...] = get_args(Sky)
GROUNDS: tuple[Ground, ...] = get_args(Ground)
KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)
PLACES: tuple[Place, ...] = get_args(Place)
SIZES: tuple[Size, ...] = get_args(Size)
LIGHT_OF: dict[Sky, Light] = {"day": "sun", "sunset": "sun", "night": "moon"}

HELD_OUT: tuple[tuple[Kind, Colour], ...] = (
    ("car", "purple"),
    ("cat", "green"),
    ("house", "orange"),
    ("boat", "red"),
    ("tree", "blue"),
    ("balloon", "white"),
)
"""Pairs that training never shows: drawing them takes combining what was learnt separately."""

ON_LAND: tuple[Kind, ...] = ("house", "tree", "car", "cat")
"""Kinds that can replace one another: a balloon is higher up, and only a boat is on the sea."""

# Balloons fly over land and over sea, so they have half the weight on each. Every kind is then
# about equally frequent.
_OVER_LAND: tuple[Kind, ...] = (*(kind for kind in ON_LAND for _ in range(2)), "balloon")
_OVER_SEA: tuple[Kind, ...] = ("boat", "boat", "balloon")

# The first wording of each is the canonical one.
_SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
_PLACE_WORDS = {
    "left": ("on the left",),
    "middle": ("in the middle", "in the centre"),
    "right": ("on the right",),
}
_GROUND_WORDS = {
    "grass": ("on the grass", "in the grass", "in the meadow"),
    "beach": ("on the beach", "at the beach", "on the sand"),
    "snow": ("in the snow", "on the snow"),
    "sea": ("on the sea", "on the water", "in the sea"),
}
_BELOW_WORDS = {
    "grass": ("over the grass", "over the meadow"),
    "beach": ("over the beach", "over the sand"),
    "snow": ("over the snow",),
    "sea": ("over the sea", "over the water"),
}
_EMPTY_WORDS = {
    "grass": ("an empty meadow",),
    "beach": ("an empty beach",),
    "snow": ("an empty field of snow",),
    "sea": ("an empty sea",),
}
_SKY_WORDS = {
    "day": ("by day", "in the daytime", "under a blue sky"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "in the night"),
}
_LIGHT_WORDS = {
    "sun": ("under the sun", "with the sun", "in the sunshine"),
    "moon": ("under the moon", "with the moon", "in the moonlight"),
    "no sun": ("with no sun", "without the sun"),
    "no moon": ("with no moon", "without the moon"),
}
# The probability that a part is left out, one of these for each caption: people write both
# long and very short prompts.
_LEFT_OUT = (0.1, 0.2, 0.6)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene."""

    kind: Kind
    colour: Colour
    place: Place
    size: Size

    def caption(self) -> str:
        """All of it in words, and nothing of its scene: "a small red cat on the left"."""
        return _Wording(None, full=True).noun(self)


@dataclass(frozen=True)
class Scene:
    """A sky over a ground, a sun or a moon or neither, and up to two objects.

    `jitter` seeds what captions do not mention: the exact positions of horizon, objects, light,
    stars and waves.
    """

    sky: Sky
    ground: Ground
    light: Light | None
    objects: tuple[SceneObject, ...]
    jitter: int = 0

    @classmethod
    def sample(
        cls, seed: int, index: int, split: Split = "train", n_objects: int | None = None
    ) -> "Scene":
        """Scene number `index` of an endless set: the same for the same arguments everywhere.

        `split="train"` never shows a pair of `HELD_OUT`; `"held_out"` always shows at least
        one. `n_objects` is 0, 1, 2 or None (one object in 60% of the scenes, two in the rest).
        Raises ValueError for anything else.
        """
        if (
            split not in get_args(Split)
            or n_objects not in (None, 0, 1, 2)
            or (split, n_objects) == ("held_out", 0)
        ):
            raise ValueError(
                f"cannot sample split={split!r} with n_objects={n_objects!r}: "
                "use 'train' with 0, 1 or 2 objects, or 'held_out' with 1 or 2"
            )
        # A string is hashed with SHA-512, so neighbouring indices give unrelated scenes.
        rng = random.Random(f"scene {seed} {index} {split}")
        sky, ground = rng.choice(SKIES), rng.choice(GROUNDS)
        light = LIGHT_OF[sky] if rng.random() < 0.7 else None
        n = (1 if rng.random() < 0.6 else 2) if n_objects is None else n_objects
        objects = _sample_objects(rng, ground, split, n)
        return cls(sky, ground, light, objects, jitter=rng.getrandbits(32))

    def caption(self, seed: int | None = None, full: bool = False) -> str:
        """An English description, in lower case, without a full stop.

        `seed` selects one of many wordings; None is the canonical one. `full` names every
        attribute. Otherwise the canonical caption omits the places and an absent light, and a
        seeded caption omits each part except the kinds with some probability.
        """
        if seed is None:
            return _Wording(None, full).caption(self)
        rng = random.Random(f"caption {seed}")
        return _Wording(rng, full, rng.choice(_LEFT_OUT)).caption(self)

    def attributes(self) -> dict[str, str]:
        """All attributes by name: sky, ground, light (or "none"), then kind_0, colour_0, ..."""
        flat = dict[str, str](sky=self.sky, ground=self.ground, light=self.light or "none")
        for i, item in enumerate(self.objects):
            flat |= {f"{name}_{i}": value for name, value in vars(item).items()}
        return flat


def _sample_objects(
    rng: random.Random, ground: Ground, split: Split, n: int
) -> tuple[SceneObject, ...]:
    """`n` objects that fit `ground`, at different places; two large ones are not neighbours."""
    kinds = _OVER_SEA if ground == "sea" else _OVER_LAND
    every = [(kind, colour) for kind in kinds for colour in COLOURS]
    seen = [pair for pair in every if pair not in HELD_OUT]
    hidden = [pair for pair in every if pair in HELD_OUT]
    if split == "train":
        pairs = [rng.choice(seen) for _ in range(n)]
    else:
        pairs = [rng.choice(hidden), *(rng.choice(every) for _ in range(n - 1))]
        rng.shuffle(pairs)
    sizes = [rng.choice(SIZES) for _ in pairs]
    places = rng.sample(PLACES, n)
    if sizes == ["large", "large"] and "middle" in places:
        places = rng.sample(("left", "right"), 2)
    return tuple(
        SceneObject(kind, colour, place, size)
        for (kind, colour), place, size in zip(pairs, places, sizes, strict=True)
    )


@dataclass(frozen=True)
class _Wording:
    """Chooses the words of one caption: at random with `rng`, the canonical ones without."""

    rng: random.Random | None
    full: bool
    left_out: float = 0.0

    def word(self, words: tuple[str, ...]) -> str:
        return words[0] if self.rng is None else self.rng.choice(words)

    def part(self, words: tuple[str, ...], canonical: bool = True) -> str:
        """Words, or "" if they are left out: at random, or by `canonical` without `rng`."""
        named = canonical if self.rng is None else self.rng.random() >= self.left_out
        return self.word(words) if named or self.full else ""

    def noun(self, item: SceneObject) -> str:
        """Article, size, colour, kind, place."""
        words = _join(self.part(_SIZE_WORDS[item.size]), self.part((item.colour,)), item.kind)
        article = "an" if words[0] in "aeiou" else "a"
        return _join(article, words, self.part(_PLACE_WORDS[item.place], canonical=False))

    def caption(self, scene: Scene) -> str:
        """Choose the words of every part, then the order of the parts."""
        if scene.objects:
            objects = " and ".join(self.noun(item) for item in scene.objects)
            flying = all(item.kind == "balloon" for item in scene.objects)
            ground = self.part((_BELOW_WORDS if flying else _GROUND_WORDS)[scene.ground])
        else:
            objects, ground = self.word(_EMPTY_WORDS[scene.ground]), ""
        sky = self.part(_SKY_WORDS[scene.sky])
        words = _LIGHT_WORDS[scene.light or f"no {LIGHT_OF[scene.sky]}"]
        light = self.part(words, canonical=scene.light is not None)

        order = 0 if self.rng is None else self.rng.randrange(5)
        if order <= 1:
            return _join(objects, ground, sky, light)
        if order == 2:
            return _join(objects, ground, light, sky)
        head = sky if order == 3 else _join(ground, sky)
        tail = _join(objects, ground, light) if order == 3 else _join(objects, light)
        return f"{head}, {tail}" if head else tail


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
