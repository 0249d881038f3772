r"""Measures whether pictures show what their prompts say.

Maps       model, probe (, CLIP)  ->  shares of right attributes, CLIP score, PSNR, Frechet
           distance
Tests      tests/evaluation/test_evaluate.py
"""

import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.evaluation.clip_score import ClipScorer, clip_scores
from labml_sd.evaluation.compare_attributes import tally
from labml_sd.evaluation.draw_and_read import (
    GROUPS,
    SEED,
    Measurement,
    eight_bit,
    sample_scenes,
)
from labml_sd.evaluation.dtypes import psnr
from labml_sd.evaluation.frechet import Axes, frechet_distance, principal_axes
from labml_sd.evaluation.probe import Readings
from labml_sd.tiny.scenes import Scene

N_AXES = 16  # of the probe's 256 features: 1,000 pictures determine 16 means, 136 covariances
N_FOR_AXES = 1024  # scenes from which the axes are computed


def scene_axes(m: Measurement) -> Axes:
    """The principal axes of the probe's features of drawn scenes, the same for every model."""
    scenes = [Scene.sample(SEED + 3, i, n_objects=1 + i % 2) for i in range(N_FOR_AXES)]
    return principal_axes(m.read(m.draw(scenes)).features, N_AXES)


def accuracy(m: Measurement) -> dict[str, Any]:
    """Generate pictures of `n_prompts` prompts of each group, read them, and compare.

    Deterministic: scenes and noise are fixed. Raises GenerationError for invalid settings.
    """
    n = m.n_prompts
    m.bar.reset(total=n * len(GROUPS))
    asked = {group: sample_scenes(SEED, n, *kind) for group, kind in GROUPS.items()}
    captions = {g: [scene.caption(full=True) for scene in asked[g]] for g in GROUPS}
    seen = {g: m.read(m.generate(captions[g], m.settings), m.clip) for g in GROUPS}
    by_code = {g: m.read(m.draw(asked[g]), m.clip) for g in GROUPS}
    sources = {"model": seen, "code": by_code}
    return {
        "n_prompts": n,
        "groups": {g: tally(asked[g], seen[g].scenes) for g in GROUPS},
        "autoencoder": round_trip(m),
        "frechet": frechet(m, seen, by_code),
        "clip": None if m.clip is None else clip_score(m.clip, captions, sources),
    }


def frechet(
    m: Measurement, seen: dict[str, Readings], by_code: dict[str, Readings]
) -> dict[str, Any]:
    """Distance of the pictures of the training split to as many other scenes drawn by code.

    `floor` is the same distance for scenes drawn by code in place of the model's pictures.
    """
    axes = scene_axes(m)
    trained = [g for g, (split, _) in GROUPS.items() if split == "train"]
    scenes = {g: sample_scenes(SEED + 1, m.n_prompts, *GROUPS[g]) for g in trained}

    def points(readings: dict[str, Readings]) -> Float[Tensor, "n k"]:
        return axes(torch.cat([readings[g].features for g in trained]))

    reference = points({g: m.read(m.draw(scenes[g])) for g in trained})
    return {
        "distance": frechet_distance(points(seen), reference),
        "floor": frechet_distance(points(by_code), reference),
        "n_axes": reference.shape[1],
        "n_pictures": len(reference),
    }


def round_trip(m: Measurement) -> dict[str, Any]:
    """What the autoencoder preserves of `n_prompts` scenes: attributes and PSNR.

    `psnr` is the mean of the PSNRs in dB, `psnr_pooled` the PSNR of the mean square error of
    all pictures, which is lower.
    """
    scenes = [Scene.sample(SEED, index) for index in range(m.n_prompts)]
    decibels: list[float] = []

    def reconstructed() -> Iterator[Float[Tensor, "b 3 h w"]]:
        for images in m.draw(scenes):
            with torch.inference_mode():
                decoded = eight_bit(m.model.decode_latent(m.model.encode_image(images)).cpu())
            decibels.extend(psnr(a, b) for a, b in zip(decoded, images, strict=True))
            yield decoded

    return {
        "drawn by code": tally(scenes, m.read(m.draw(scenes)).scenes),
        "after the autoencoder": tally(scenes, m.read(reconstructed()).scenes),
        "psnr": fmean(decibels),
        "psnr_pooled": -10 * math.log10(fmean(10 ** (-d / 10) for d in decibels)),
    }


def clip_score(
    clip: ClipScorer, captions: dict[str, list[str]], sources: dict[str, dict[str, Readings]]
) -> dict[str, Any]:
    """The scores of each group's pictures, and of the same scenes drawn by code."""
    scores: dict[str, Any] = {}
    for group, texts in captions.items():
        embedded = clip.embed_captions(texts)
        images = {source: readings[group].clip for source, readings in sources.items()}
        scores[group] = {
            s: clip_scores(embedded, x) for s, x in images.items() if x is not None
        }
    return scores
