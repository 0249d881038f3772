r"""Captions for the image tower: the frozen text transformer reads all of them once.

Maps       CLIPTextEmbedder, scenes  ->  pooled vectors [n 2 + k d] of captions
Tests      tests/training/test_captions.py

For each scene these are a caption that leaves some parts out, the full caption, and the full
captions of k scenes that are one change away, in the wording of the second.
"""

import hashlib
import random
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.interrogator.image_tower import pooled
from labml_sd.text_encoder import CLIPTextEmbedder
from labml_sd.tiny.hard_negatives import hard_negatives
from labml_sd.tiny.neighbours import neighbours
from labml_sd.tiny.scenes import HELD_OUT, Scene
from labml_sd.training.state_files import read_file, write_file

CHUNK = 32  # scenes whose captions are read at a time


def caption_vectors(
    text: CLIPTextEmbedder,
    seed: int,
    n: int,
    n_negatives: int,
    folder: Path,
    *,
    progress: bool = True,
) -> Float[Tensor, "n k d"]:
    """The vectors of scenes 0..n-1 of a seed, or what an earlier call wrote into `folder`.

    In float16, on the CPU.
    """
    path = folder / f"captions-{fingerprint(text, seed, n, n_negatives)}.pt"
    if path.exists():
        stored: Tensor = read_file(path)["pooled"]
        return stored
    parts = []
    for start in tqdm(range(0, n, CHUNK), desc="captions", disable=not progress):
        some = range(start, min(n, start + CHUNK))
        captions = [c for i in some for c in scene_captions(seed, i, n_negatives)]
        vectors = pooled(text, captions).reshape(len(some), 2 + n_negatives, -1)
        parts.append(vectors.half().cpu())
    result = torch.cat(parts)
    write_file({"pooled": result}, path)
    return result


def scene_captions(seed: int, index: int, n_negatives: int) -> list[str]:
    """A caption, the full caption, and those of `n_negatives` other scenes.

    Every other scene has the canonical wording of full captions.
    """
    scene = Scene.sample(seed, index)
    rng = random.Random(f"captions {seed} {index}")
    others = different_scenes(scene, n_negatives, rng)
    wording = index if index % 2 else None
    full = [one.caption(seed=wording, full=True) for one in (scene, *others)]
    return [scene.caption(seed=index), *full]


def different_scenes(scene: Scene, n: int, rng: random.Random) -> list[Scene]:
    """`n` scenes one change away: half of them hard negatives, which are easily confused.

    None shows a pair of `HELD_OUT` that `scene` does not show.
    """
    others = hard_negatives(scene, n // 2, rng)
    shown = {(item.kind, item.colour) for item in scene.objects}
    hidden = set(HELD_OUT) - shown
    rest = [
        other
        for other in neighbours(scene)
        if other not in others
        and not hidden & {(item.kind, item.colour) for item in other.objects}
    ]
    return others + rng.sample(rest, n - len(others))


def fingerprint(text: CLIPTextEmbedder, seed: int, n: int, n_negatives: int) -> str:
    """A hash of the seed, the numbers and the text transformer's weights."""
    digest = hashlib.sha256(f"{seed}/{n}/{n_negatives}".encode())
    for weight in text.transformer.parameters():
        digest.update(weight.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]
