"""How well prompts are read back from pictures: `python benchmarks/interrogation.py OUTDIR`.

Scenes drawn by code, and pictures that the tiny model draws of full prompts, are read by the
image tower. What is right is decided by the scenes, and for the model's pictures also by the
probe, which is trained for it (5 minutes) unless OUTDIR has one. Pictures are kept there too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import labml_sd as sd
from labml_sd.evaluation.compare_attributes import ROWS, tally
from labml_sd.evaluation.probe import read_images, train_probe
from labml_sd.interrogator.interrogators import SceneInterrogator
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene, Split
from labml_sd.training.data import image_batch

DRAWN, ASKED = 777_001, 424_242  # seeds of scenes that no training has seen
BATCH = 10


def sample(seed: int, n: int, split: Split) -> list[Scene]:
    """The first scenes of a seed."""
    return [Scene.sample(seed, index, split) for index in range(n)]


def model_pictures(
    model: LatentDiffusion, scenes: Sequence[Scene], folder: Path, split: Split
) -> torch.Tensor:
    """What the model draws of full prompts, from `folder` as far as it has it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{split}-{index:03d}.png" for index in range(len(scenes))]
    for first in range(0, len(scenes), BATCH):
        some = slice(first, first + BATCH)
        if all(path.exists() for path in paths[some]):
            continue
        prompts = [scene.caption(full=True) for scene in scenes[some]]
        images = sd.txt2img(model, prompts, seed=first, progress=False)
        for image, path in zip(images, paths[some], strict=True):
            image.save(path)
    return torch.cat([sd.load_img(path) for path in paths])


def read(interrogator: sd.Interrogator, images: torch.Tensor) -> list[Scene]:
    """The scenes that the tower reads."""
    assert isinstance(interrogator, SceneInterrogator)
    return [scene for scene, _ in interrogator.reader.read(images)]


def main() -> None:
    """Print a table: the share of right attributes in each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("-n", type=int, default=200, help="pictures of each group")
    args = parser.parse_args()
    model, tower = sd.load_model(dtype="float32"), sd.load_interrogator()
    probe = train_probe(args.outdir, seed=0, device=torch.device("cpu"))
    columns = {}
    for split, name in (("train", ""), ("held_out", ", held-out pairs")):
        scenes = sample(DRAWN, args.n, split)
        columns["drawn by code" + name] = tally(scenes, read(tower, image_batch(scenes, 128)))
        asked = sample(ASKED, args.n, split)
        images = model_pictures(model, asked, args.outdir / "pictures", split)
        seen, shown = read(tower, images), read_images(probe, images).scenes
        columns["drawn by the model, against the prompt" + name] = tally(asked, seen)
        columns["against the probe" + name] = tally(shown, seen)
        columns["the probe against the prompt" + name] = tally(asked, shown)
    print("|  | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 1) + "|")
    for row in ROWS:
        shares = (column.get(row) for column in columns.values())
        cells = [f"{100 * s['mean']:.1f}" if s else "-" for s in shares]
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
