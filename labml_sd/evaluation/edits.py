r"""Measures negative prompts and image to image.

Maps       model, probe  ->  shares of pictures with and without a negative prompt
           model, probe  ->  for each strength how much is kept and how much follows the prompt
Tests      tests/evaluation/test_edits.py
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count, pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import compare_attributes, share
from labml_sd.evaluation.draw_and_read import (
    SEED,
    SamplingSettings,
    as_images,
    draw_scenes,
    generate,
    read_batches,
)
from labml_sd.evaluation.probe import Probe, read_images
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Light, Scene, Sky

LIGHTS: dict[Sky, Light] = {"night": "moon", "day": "sun"}
STRENGTHS = tuple(i / 10 for i in range(1, 11))
# All attributes in which two scenes of one object can differ.
CHANGED = ("sky", "ground", "light", "kind", "colour", "place", "size")
# The attributes that a negative prompt about the light should not change.
_OTHERS = ("sky", "ground", "kind", "colour")


def negative_prompts(
    model: LatentDiffusion,
    probe: Probe,
    settings: SamplingSettings,
    n: int,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """For sun and moon, `n` prompts that do not mention it, without and with a negative prompt.

    `shown` is the share of pictures with that light, `others` the share of the other attributes
    that are right. Both sets of pictures start from the same noise.
    """
    data: dict[str, Any] = {"n_prompts": n}
    with tqdm(
        total=4 * n, desc="negative prompts", disable=not progress, dynamic_ncols=True
    ) as bar:
        for sky, light in LIGHTS.items():
            scenes = [
                replace(Scene.sample(SEED, i, n_objects=1), sky=sky, light=None)
                for i in range(n)
            ]
            captions = [scene.caption() for scene in scenes]  # says nothing about the light
            row = {}
            for name, negative in (("without", ""), ("with", f"the {light}")):
                pictures = generate(
                    model, captions, settings, negative_prompt=negative, on_progress=bar.update
                )
                seen = read_batches(probe, pictures).scenes
                row[name] = {
                    "shown": share([s.light == light for s in seen]).as_data(),
                    "others": share(_agreement(scenes, seen, _OTHERS)).as_data(),
                }
            data[light] = row
    return data


def contradicting_scene(scene: Scene, number: int) -> Scene:
    """A scene that differs from `scene`, which has one object, in every attribute."""
    for index in count(number * 10_000):
        other = Scene.sample(SEED + 2, index, n_objects=1)
        pairs = zip(scene.attributes().values(), other.attributes().values(), strict=True)
        if all(a != b for a, b in pairs):
            break
    return other


def strengths(
    model: LatentDiffusion,
    probe: Probe,
    settings: SamplingSettings,
    n: int,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Edit `n` drawn scenes at every strength, with prompts that contradict all of the scene.

    `kept` is the share of the scene's attributes that remain, `shown` the share of the prompt's
    attributes, `rms` the change of the pixels in grey levels.
    """
    sources = [Scene.sample(SEED, i, n_objects=1) for i in range(n)]
    targets = [contradicting_scene(scene, i) for i, scene in enumerate(sources)]
    before = torch.cat(list(draw_scenes(sources, model.config.image_size)))
    rows = []
    with tqdm(
        total=n * len(STRENGTHS), desc="strengths", disable=not progress, dynamic_ncols=True
    ) as bar:
        for strength in STRENGTHS:
            pictures = []
            for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
                pictures += img2img(
                    model,
                    target.caption(full=True),
                    draw_scene(source, model.config.image_size),
                    strength=strength,
                    seed=i,
                    progress=False,
                    **asdict(settings),
                )
                bar.update()
            after = as_images(pictures)
            seen = read_images(probe, after).scenes
            rows.append({
                "strength": strength,
                "kept": share(_agreement(sources, seen, CHANGED)).as_data(),
                "shown": share(_agreement(targets, seen, CHANGED)).as_data(),
                "rms": rms(before, after),
            })  # fmt: skip
    return {"n_pictures": n, "rows": rows, "setbacks": setbacks(rows)}


def _agreement(
    asked: Sequence[Scene], seen: Sequence[Scene], attributes: Sequence[str]
) -> list[float]:
    """For each pair of scenes, the share of the attributes that are right."""
    compared = [compare_attributes(a, s) for a, s in zip(asked, seen, strict=True)]
    return [sum(right[name] for name in attributes) / len(attributes) for right in compared]


def rms(x: Float[Tensor, "n 3 h w"], y: Float[Tensor, "n 3 h w"]) -> float:
    r"""Root mean square difference in grey levels: $127.5 \sqrt{\mathrm{mean}\,(x - y)^2}$."""
    return 127.5 * float((x - y).double().square().mean().sqrt())


def setbacks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """For each column of the table of strengths its largest step in the wrong direction."""
    return {
        "kept": setback([row["kept"]["mean"] for row in rows], rising=False),
        "shown": setback([row["shown"]["mean"] for row in rows], rising=True),
        "rms": setback([row["rms"] for row in rows], rising=True),
    }


def setback(values: Sequence[float], *, rising: bool) -> float:
    r"""The largest step in the wrong direction, 0 for values that rise or fall monotonically.

    $$ \max(0, \max_i\, \pm (v_i - v_{i+1})) $$
    """
    sign = 1.0 if rising else -1.0
    return max(0.0, *(sign * (a - b) for a, b in pairwise(values)))
