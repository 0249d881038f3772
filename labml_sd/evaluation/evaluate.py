r"""Does the picture show what the prompt says? Measured by the probe, over many prompts.

Maps       model, probe (, CLIP)  ->  share of right attributes, CLIP score, PSNR, Frechet distance
Tests      tests/evaluation/test_evaluate.py
"""

import math
from typing import Any

import torch
from tqdm.auto import tqdm

from labml_sd.evaluation.clip_score import ClipReader, clip_scores
from labml_sd.evaluation.compare_attributes import Shares, tally
from labml_sd.evaluation.draw_and_read import (
    GROUPS,
    SEED,
    Seen,
    Settings,
    drawn,
    eight_bit,
    read,
    rendered,
    scenes_of,
)
from labml_sd.evaluation.dtypes import psnr
from labml_sd.evaluation.frechet import Axes, frechet_distance, principal_axes
from labml_sd.evaluation.probe import Probe
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene

N_AXES = 16  # of the probe's 256 features' space: a thousand pictures fix 16 means and 136 covariances well
N_FOR_AXES = 1024  # scenes that the axes are measured on


def scene_axes(probe: Probe, size: int) -> Axes:
    """The axes in which drawn scenes differ most, to the probe. The same for every model."""
    scenes = [
        Scene.sample(SEED + 3, index, n_objects=1 + index % 2) for index in range(N_FOR_AXES)
    ]
    return principal_axes(read(probe, rendered(scenes, size)).features, N_AXES)


def evaluate(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    settings: Settings,
    *,
    n_prompts: int,
    clip: ClipReader | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Draw `n_prompts` of every group, read the pictures, and compare. `probe` is trained.

    A function of its arguments: scenes and noise are fixed. Raises GenerationError for
    impossible settings.
    """
    size = model.config.image_size
    asked = {g: scenes_of(SEED, n_prompts, *kind) for g, kind in GROUPS.items()}
    captions = {
        g: [scene.caption(full=True) for scene in scenes] for g, scenes in asked.items()
    }
    bar = tqdm(
        total=n_prompts * len(GROUPS), desc="accuracy", disable=not progress, dynamic_ncols=True
    )
    with bar:
        seen = {
            g: read(probe, drawn(model, c, settings, told=bar.update), clip)
            for g, c in captions.items()
        }
    by_code = {g: read(probe, rendered(asked[g], size), clip) for g in GROUPS}
    return {
        "n_prompts": n_prompts,
        "groups": {g: _data(tally(asked[g], seen[g].scenes)) for g in GROUPS},
        "autoencoder": round_trip(model, probe, n_prompts),
        "frechet": frechet(probe, axes, seen, by_code, n_prompts, size),
        "clip": None if clip is None else _clip(clip, captions, seen, by_code),
    }


def frechet(
    probe: Probe, axes: Axes, seen: dict[str, Seen], by_code: dict[str, Seen], n: int, size: int
) -> dict[str, Any]:
    """Pictures of the usual prompts against as many other drawn scenes; `floor`: drawn scenes instead."""
    usual = {g: kind for g, kind in GROUPS.items() if kind[0] == "train"}
    others = [
        read(probe, rendered(scenes_of(SEED + 1, n, *kind), size)).features
        for kind in usual.values()
    ]
    reference = axes(torch.cat(others))

    def distance(what: dict[str, Seen]) -> float:
        return frechet_distance(axes(torch.cat([what[g].features for g in usual])), reference)

    return {
        "distance": distance(seen),
        "floor": distance(by_code),
        "n_axes": reference.shape[1],
        "n_pictures": len(reference),
    }


def round_trip(model: LatentDiffusion, probe: Probe, n: int) -> dict[str, Any]:
    """The probe on `n` fresh scenes, on their round trips through the autoencoder, and the PSNR in dB.

    `psnr` is the mean of the pictures' own, `psnr_pooled` that of their mean square error,
    which is lower.
    """
    scenes = [Scene.sample(SEED, index) for index in range(n)]
    before, after, decibels = [], [], []
    for images in rendered(scenes, model.config.image_size):
        with torch.inference_mode():
            decoded = eight_bit(model.decode_latent(model.encode_image(images)).cpu())
        before += read(probe, [images]).scenes
        after += read(probe, [decoded]).scenes
        decibels += [psnr(a, b) for a, b in zip(decoded, images, strict=True)]
    return {
        "drawn by code": _data(tally(scenes, before)),
        "after the autoencoder": _data(tally(scenes, after)),
        "psnr": math.fsum(decibels) / n,
        "psnr_pooled": -10 * math.log10(math.fsum(10 ** (-d / 10) for d in decibels) / n),
    }


def _clip(
    clip: ClipReader,
    captions: dict[str, list[str]],
    seen: dict[str, Seen],
    by_code: dict[str, Seen],
) -> dict[str, Any]:
    """The scores of each group's pictures, and of the same scenes drawn by code."""
    scores = {}
    for group, words in captions.items():
        directions = clip.of_captions(words)
        drawn_by = {"model": seen[group].directions, "code": by_code[group].directions}
        scores[group] = {
            who: clip_scores(directions, d) for who, d in drawn_by.items() if d is not None
        }
    return scores


def _data(shares: Shares) -> dict[str, dict[str, float]]:
    return {name: share.as_data() for name, share in shares.items()}
