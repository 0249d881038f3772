"""How well a word that was learned from five pictures draws what they show.

    python benchmarks/embedding.py --outdir runs/embedding

draws the five pictures, learns the word, draws 100 pictures of it with other skies and grounds
than in the five, and reads them with the probe. The same for three words that were not learned:
the one that training starts from, a new word without an embedding, and the description.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

import labml_sd as sd
from labml_sd.checkpoint.embeddings import save_embedding
from labml_sd.evaluation.draw_and_read import as_images
from labml_sd.evaluation.probe import Probe, read_images, train_probe
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Colour, Kind, Scene, SceneObject
from labml_sd.training.learn_embedding import EmbeddingSettings, learn_embedding

CPU = torch.device("cpu")
BATCH = 25


def training_scenes(kind: Kind, colour: Colour) -> list[Scene]:
    """Five scenes with the same thing: two skies, two grounds, three places, two sizes."""

    def thing(place: Any, size: Any) -> tuple[SceneObject]:
        return (SceneObject(kind, colour, place, size),)

    return [
        Scene("day", "grass", "sun", thing("left", "large"), jitter=100),
        Scene("sunset", "beach", None, thing("right", "large"), jitter=101),
        Scene("day", "beach", None, thing("middle", "small"), jitter=102),
        Scene("sunset", "grass", "sun", thing("middle", "large"), jitter=103),
        Scene("day", "grass", None, thing("right", "small"), jitter=104),
    ]


def other_prompts(words: str, n: int) -> list[str]:
    """Prompts with a ground or a sky, or both, that none of the five pictures has."""
    grounds = ("in the snow by day", "in the snow at sunset", "in the snow at night")
    others = (*grounds, "on the grass at night", "on the beach at night")
    return [f"{words} {other}" for other in islice(cycle(others), n)]


def share_of(
    model: LatentDiffusion,
    probe: Probe,
    prompts: Sequence[str],
    kind: Kind,
    colour: Colour,
    embeddings: Sequence[Any] = (),
) -> float:
    """The share of the pictures of prompts that show a thing of this kind and colour."""
    right = 0
    for i in range(0, len(prompts), BATCH):
        pictures = sd.txt2img(
            model,
            list(prompts[i : i + BATCH]),
            embeddings=embeddings,
            seed=1000 + i,
            progress=False,
        )
        for scene in read_images(probe, as_images(pictures)).scenes:
            right += any((o.kind, o.colour) == (kind, colour) for o in scene.objects)
    return right / len(prompts)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--outdir", type=Path, default=Path("runs/embedding"))
    add("--probe", type=Path, help="folder of a trained probe (--outdir)")
    add("--kind", default="cat")
    add("--colour", default="purple")
    add("--pictures", type=int, default=100, help="drawn for each word (100)")
    add("--embedding", type=Path, help="measure this one, and train none")
    args = parser.parse_args()
    model = sd.load_model(device="cpu", dtype="float32")
    file = args.embedding or args.outdir / "toy.safetensors"
    if args.embedding is None:
        data = args.outdir / "pictures"
        data.mkdir(parents=True, exist_ok=True)
        for i, scene in enumerate(training_scenes(args.kind, args.colour)):
            draw_scene(scene, model.config.image_size).save(data / f"{i}.png")
        settings = EmbeddingSettings(token="<toy>", init=args.kind, vectors=2)
        started = time.process_time()
        save_embedding(learn_embedding(model, data, settings, args.outdir), file)
        print(f"trained in {time.process_time() - started:.0f} s of one core")
    probe = train_probe(args.probe or args.outdir, seed=0, device=CPU, progress=False)
    for words, given in {
        "a <toy>": [file],
        f"a {args.kind}": [],
        "a <other>": [file],
        f"a {args.colour} {args.kind}": [],
    }.items():
        prompts = other_prompts(words, args.pictures)
        found = share_of(model, probe, prompts, args.kind, args.colour, given)
        print(f"{words:20} {found:.0%} show a {args.colour} {args.kind}", flush=True)


if __name__ == "__main__":
    main()
