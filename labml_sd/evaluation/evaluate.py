r"""Measures whether pictures show what their prompts say.

Maps       model, probe (, CLIP)  ->  shares of right attributes, CLIP score, PSNR, Frechet
           distance
Tests      tests/evaluation/test_evaluate.py
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.clip_score import ClipScorer, clip_scores
from labml_sd.evaluation.compare_attributes import Shares, tally
from labml_sd.evaluation.draw_and_read import (
    GROUPS,
    SEED,
    SamplingSettings,
    draw_scenes,
    eight_bit,
    generate,
    read_batches,
    sample_scenes,
)
from labml_sd.evaluation.dtypes import psnr
from labml_sd.evaluation.frechet import Axes, frechet_distance, principal_axes
from labml_sd.evaluation.probe import Probe, Readings
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene

N_AXES = 16  # of the probe's 256 features: 1,000 pictures determine 16 means, 136 covariances
N_FOR_AXES = 1024  # scenes from which the axes are computed


def scene_axes(probe: Probe, size: int) -> Axes:
    """The principal axes of the probe's features of drawn scenes, the same for every model."""
    scenes = [
        Scene.sample(SEED + 3, index, n_objects=1 + index % 2) for index in range(N_FOR_AXES)
    ]
    return principal_axes(read_batches(probe, draw_scenes(scenes, size)).features, N_AXES)


def evaluate(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    settings: SamplingSettings,
    *,
    n_prompts: int,
    clip: ClipScorer | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Generate pictures of `n_prompts` prompts of each group, read them, and compare.

    Deterministic: scenes and noise are fixed. Raises GenerationError for invalid settings.
    """
    size = model.config.image_size
    asked = {g: sample_scenes(SEED, n_prompts, *kind) for g, kind in GROUPS.items()}
    captions = {
        g: [scene.caption(full=True) for scene in scenes] for g, scenes in asked.items()
    }
    bar = tqdm(
        total=n_prompts * len(GROUPS), desc="accuracy", disable=not progress, dynamic_ncols=True
    )
    with bar:
        seen = {
            g: read_batches(probe, generate(model, c, settings, on_progress=bar.update), clip)
            for g, c in captions.items()
        }
    by_code = {g: read_batches(probe, draw_scenes(asked[g], size), clip) for g in GROUPS}
    return {
        "n_prompts": n_prompts,
        "groups": {g: _data(tally(asked[g], seen[g].scenes)) for g in GROUPS},
        "autoencoder": round_trip(model, probe, n_prompts),
        "frechet": frechet(probe, axes, seen, by_code, n_prompts, size),
        "clip": None if clip is None else _clip(clip, captions, seen, by_code),
    }


def frechet(
    probe: Probe,
    axes: Axes,
    seen: dict[str, Readings],
    by_code: dict[str, Readings],
    n: int,
    size: int,
) -> dict[str, Any]:
    """Distance of the pictures of the training split to as many other scenes drawn by code.

    `floor` is the same distance for scenes drawn by code in place of the model's pictures.
    """
    trained = {g: kind for g, kind in GROUPS.items() if kind[0] == "train"}
    others = [
        read_batches(probe, draw_scenes(sample_scenes(SEED + 1, n, *kind), size)).features
        for kind in trained.values()
    ]
    reference = axes(torch.cat(others))

    def distance(readings: dict[str, Readings]) -> float:
        features = torch.cat([readings[g].features for g in trained])
        return frechet_distance(axes(features), reference)

    return {
        "distance": distance(seen),
        "floor": distance(by_code),
        "n_axes": reference.shape[1],
        "n_pictures": len(reference),
    }


def round_trip(model: LatentDiffusion, probe: Probe, n: int) -> dict[str, Any]:
    """What the autoencoder preserves of `n` scenes: attributes before and after, and PSNR.

    `psnr` is the mean of the PSNRs in dB, `psnr_pooled` the PSNR of the mean square error of
    all pictures, which is lower.
    """
    scenes = [Scene.sample(SEED, index) for index in range(n)]
    decibels: list[float] = []

    def reconstructed() -> Iterator[Float[Tensor, "b 3 h w"]]:
        for images in draw_scenes(scenes, model.config.image_size):
            with torch.inference_mode():
                decoded = eight_bit(model.decode_latent(model.encode_image(images)).cpu())
            decibels.extend(psnr(a, b) for a, b in zip(decoded, images, strict=True))
            yield decoded

    before = read_batches(probe, draw_scenes(scenes, model.config.image_size))
    after = read_batches(probe, reconstructed())
    return {
        "drawn by code": _data(tally(scenes, before.scenes)),
        "after the autoencoder": _data(tally(scenes, after.scenes)),
        "psnr": math.fsum(decibels) / n,
        "psnr_pooled": -10 * math.log10(math.fsum(10 ** (-d / 10) for d in decibels) / n),
    }


def _clip(
    clip: ClipScorer,
    captions: dict[str, list[str]],
    seen: dict[str, Readings],
    by_code: dict[str, Readings],
) -> dict[str, Any]:
    """The scores of each group's pictures, and of the same scenes drawn by code."""
    scores = {}
    for group, texts in captions.items():
        embedded = clip.embed_captions(texts)
        images = {"model": seen[group].clip, "code": by_code[group].clip}
        scores[group] = {
            source: clip_scores(embedded, x) for source, x in images.items() if x is not None
        }
    return scores


def _data(shares: Shares) -> dict[str, dict[str, float]]:
    return {name: share.as_data() for name, share in shares.items()}
