r"""Measures negative prompts and image to image, and with repainting.py in-painting.

Maps       model, probe  ->  shares of pictures with and without a negative prompt
           model, probe  ->  for each strength how much is kept and how much follows the prompt
Tests      tests/evaluation/test_edits.py
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count, pairwise
from typing import Any

import torch

from labml_sd.evaluation.compare_attributes import Share, compare_attributes, share
from labml_sd.evaluation.draw_and_read import SEED, Measurement, as_images
from labml_sd.evaluation.probe import read_images
from labml_sd.evaluation.repainting import repainting
from labml_sd.pipeline import img2img
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Light, Scene, Sky

LIGHTS: dict[Sky, Light] = {"night": "moon", "day": "sun"}
STRENGTHS = tuple(i / 10 for i in range(1, 11))
# All attributes in which two scenes of one object can differ.
CHANGED = ("sky", "ground", "light", "kind", "colour", "place", "size")
# The attributes that a negative prompt about the light should not change.
_OTHERS = ("sky", "ground", "kind", "colour")


def edits(m: Measurement) -> dict[str, Any]:
    """Negative prompts, image to image, in-painting."""
    return {"negative": negative_prompts(m), "strength": strengths(m), "inpaint": repainting(m)}


def negative_prompts(m: Measurement) -> dict[str, Any]:
    """For sun and moon, prompts that do not mention it, without and with a negative prompt.

    `shown` is the share of pictures with that light, `others` the share of the other attributes
    that are right. Both sets of pictures start from the same noise.
    """
    n = m.share(5)
    m.bar.reset(total=4 * n)
    data: dict[str, Any] = {"n_prompts": n}
    for sky, light in LIGHTS.items():
        sampled = [Scene.sample(SEED, i, n_objects=1) for i in range(n)]
        scenes = [replace(scene, sky=sky, light=None) for scene in sampled]
        captions = [scene.caption() for scene in scenes]  # says nothing about the light
        data[light] = {}
        for name, negative in (("without", ""), ("with", f"the {light}")):
            seen = m.read(m.generate(captions, m.settings, negative)).scenes
            data[light][name] = {
                "shown": share([s.light == light for s in seen]),
                "others": _agreement(scenes, seen, _OTHERS),
            }
    return data


def contradicting_scene(scene: Scene, number: int) -> Scene:
    """A scene that differs from `scene`, which has one object, in every attribute."""
    others = (Scene.sample(SEED + 2, index, n_objects=1) for index in count(number * 10_000))
    values = scene.attributes().items()
    return next(o for o in others if all(o.attributes()[name] != v for name, v in values))


def strengths(m: Measurement) -> dict[str, Any]:
    """Edit drawn scenes at every strength, with prompts that contradict all of the scene.

    `kept` is the share of the scene's attributes that remain, `shown` the share of the prompt's
    attributes, `rms` the root mean square change of the pixels in grey levels.
    """
    n = m.share(10)
    m.bar.reset(total=n * len(STRENGTHS))
    sources = [Scene.sample(SEED, i, n_objects=1) for i in range(n)]
    targets = [contradicting_scene(scene, i) for i, scene in enumerate(sources)]
    before = torch.cat(list(m.draw(sources)))
    rows: list[dict[str, Any]] = []
    for strength in STRENGTHS:
        pictures = []
        for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
            pictures += img2img(
                m.model, target.caption(full=True), draw_scene(source, m.size),
                strength=strength, seed=i, progress=False, **asdict(m.settings),
            )  # fmt: skip
            m.bar.update()
        after = as_images(pictures)
        seen = read_images(m.probe, after).scenes
        rows.append({
            "strength": strength,
            "kept": _agreement(sources, seen, CHANGED),
            "shown": _agreement(targets, seen, CHANGED),
            "rms": 127.5 * float((before - after).double().square().mean().sqrt()),
        })  # fmt: skip
    falls = {
        "kept": setback([row["kept"]["mean"] for row in rows], rising=False),
        "shown": setback([row["shown"]["mean"] for row in rows], rising=True),
        "rms": setback([row["rms"] for row in rows], rising=True),
    }
    return {"n_pictures": n, "rows": rows, "setbacks": falls}


def _agreement(
    asked: Sequence[Scene], seen: Sequence[Scene], attributes: Sequence[str]
) -> Share:
    """The share of the attributes that are right."""
    compared = [compare_attributes(a, s) for a, s in zip(asked, seen, strict=True)]
    return share([sum(r[name] for name in attributes) / len(attributes) for r in compared])


def setback(values: Sequence[float], *, rising: bool) -> float:
    r"""The largest step in the wrong direction, 0 for values that rise or fall monotonically.

    $$ \max(0, \max_i\, \pm (v_i - v_{i+1})) $$
    """
    sign = 1.0 if rising else -1.0
    return max(0.0, *(sign * (a - b) for a, b in pairwise(values)))
