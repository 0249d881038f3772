r"""Two edits measured: a negative prompt takes its object away, and image to image keeps less with strength.

Maps       model, probe  ->  shares of pictures, with and without; a row for each strength
Tests      tests/evaluation/test_edits.py
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import judge, share
from labml_sd.evaluation.draw_and_read import SEED, Settings, as_images, drawn, read, rendered
from labml_sd.evaluation.probe import Probe, look
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Light, Scene, Sky

LIGHTS: dict[Sky, Light] = {"night": "moon", "day": "sun"}
STRENGTHS = tuple(i / 10 for i in range(1, 11))
CHANGED = (
    "sky",
    "ground",
    "light",
    "kind",
    "colour",
    "place",
    "size",
)  # all that two scenes can differ in
_OTHERS = (
    "sky",
    "ground",
    "kind",
    "colour",
)  # what a negative prompt about the light shall leave alone


def negative_prompts(
    model: LatentDiffusion, probe: Probe, settings: Settings, n: int, *, progress: bool = True
) -> dict[str, Any]:
    """For each light, `n` prompts that leave it out, drawn without and with it as the negative prompt.

    `shown` is the share of pictures with that light, `others` that of what was asked for. The
    noise of both is the same.
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
            captions = [
                scene.caption() for scene in scenes
            ]  # the canonical one is silent about no light
            row = {}
            for name, negative in (("without", ""), ("with", f"the {light}")):
                pictures = drawn(
                    model, captions, settings, negative_prompt=negative, told=bar.update
                )
                seen = read(probe, pictures).scenes
                right = [judge(a, s) for a, s in zip(scenes, seen, strict=True)]
                row[name] = {
                    "shown": share([s.light == light for s in seen]).as_data(),
                    "others": share(
                        [sum(r[o] for o in _OTHERS) / len(_OTHERS) for r in right]
                    ).as_data(),
                }
            data[light] = row
    return data


def unlike(scene: Scene, number: int) -> Scene:
    """A scene that differs from `scene`, a scene of one object, in everything that has a name."""
    for index in count(number * 10_000):
        other = Scene.sample(SEED + 2, index, n_objects=1)
        pairs = zip(scene.attributes().values(), other.attributes().values(), strict=True)
        if all(a != b for a, b in pairs):
            break
    return other


def strengths(
    model: LatentDiffusion, probe: Probe, settings: Settings, n: int, *, progress: bool = True
) -> dict[str, Any]:
    """`n` drawn scenes, each made into one that is unlike it, at every strength.

    `kept` is the share of the source's attributes that are still there, `shown` that of the
    prompt's, and `rms` how far the pixels moved, in grey levels.
    """
    sources = [Scene.sample(SEED, i, n_objects=1) for i in range(n)]
    targets = [unlike(scene, i) for i, scene in enumerate(sources)]
    before = torch.cat(list(rendered(sources, model.config.image_size)))
    rows = []
    with tqdm(
        total=n * len(STRENGTHS), desc="strengths", disable=not progress, dynamic_ncols=True
    ) as bar:
        for strength in STRENGTHS:
            pictures = []
            for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
                pictures += img2img(
                    model, target.caption(full=True), draw_scene(source, model.config.image_size),
                    strength=strength, seed=i, steps=settings.steps, sampler=settings.sampler,
                    guidance_scale=settings.guidance_scale, progress=False,
                )  # fmt: skip
                bar.update()
            after = as_images(pictures)
            seen = look(probe, after).scenes
            rows.append({
                "strength": strength,
                "kept": share(_agreement(sources, seen)).as_data(),
                "shown": share(_agreement(targets, seen)).as_data(),
                "rms": rms(before, after),
            })  # fmt: skip
    return {"n_pictures": n, "rows": rows, "setbacks": setbacks(rows)}


def _agreement(asked: Sequence[Scene], seen: Sequence[Scene]) -> list[float]:
    judged = [judge(a, s) for a, s in zip(asked, seen, strict=True)]
    return [sum(right[name] for name in CHANGED) / len(CHANGED) for right in judged]


def rms(x: Float[Tensor, "n 3 h w"], y: Float[Tensor, "n 3 h w"]) -> float:
    r"""$127.5 \sqrt{\mathrm{mean}\,(x - y)^2}$: the difference of pictures in grey levels."""
    return 127.5 * float((x - y).double().square().mean().sqrt())


def setbacks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How far each column of the strengths' table ever goes the wrong way; 0 where it is monotonic."""
    return {
        "kept": setback([row["kept"]["mean"] for row in rows], rising=False),
        "shown": setback([row["shown"]["mean"] for row in rows], rising=True),
        "rms": setback([row["rms"] for row in rows], rising=True),
    }


def setback(values: Sequence[float], *, rising: bool) -> float:
    r"""The largest step in the wrong direction, for values that should rise or fall.

    $$ \max(0, \max_i\, \pm (v_i - v_{i+1})) $$
    """
    sign = 1.0 if rising else -1.0
    return max(0.0, *(sign * (a - b) for a, b in pairwise(values)))
