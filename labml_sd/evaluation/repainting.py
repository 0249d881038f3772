r"""In-painting measured: an object is masked, and another is asked for in its place.

Maps       model, probe  ->  share of cases with the new kind, with its colour; the jump across the border
Tests      tests/evaluation/test_repainting.py
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageChops
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import share
from labml_sd.evaluation.draw_and_read import SEED, Settings, as_images, eight_bit
from labml_sd.evaluation.probe import Probe, look
from labml_sd.images.tensors import mask_to_tensor
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import inpaint
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import COLOURS, HELD_OUT, Kind, Scene
from labml_sd.training.data import scene_image

ON_LAND: tuple[Kind, ...] = ("house", "tree", "car", "cat")
"""They stand in the same spot. A balloon does not, and a boat has nothing to change places with."""
MARGIN = 2  # pixels around both objects


@dataclass(frozen=True)
class Case:
    """A scene of one object, the same scene with another object there, and the box that holds both."""

    source: Scene
    target: Scene
    mask: Image.Image  # white is repainted


def cases(size: int) -> Iterator[Case]:
    """An endless row of cases, on pictures of `size` pixels."""
    for index in count():
        source = Scene.sample(SEED, index, n_objects=1)
        (thing,) = source.objects
        if thing.kind not in ON_LAND:
            continue
        rng = random.Random(f"repaint {index}")
        pairs = [
            (k, c) for k in ON_LAND for c in COLOURS if k != thing.kind and c != thing.colour
        ]
        kind, colour = rng.choice([pair for pair in pairs if pair not in HELD_OUT])
        target = replace(source, objects=(replace(thing, kind=kind, colour=colour),))
        yield Case(source, target, box_mask(draw_scene(source, size), draw_scene(target, size)))


def box_mask(before: Image.Image, after: Image.Image) -> Image.Image:
    """White in the smallest box with every pixel in which two pictures differ, and in a margin around it."""
    box = ImageChops.difference(before, after).getbbox()
    mask = Image.new("L", before.size, 0)
    if box is not None:
        left, top, right, bottom = box
        mask.paste(
            255, (max(0, left - MARGIN), max(0, top - MARGIN), right + MARGIN, bottom + MARGIN)
        )
    return mask


def border_jump(image: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"]) -> float:
    r"""Mean difference between neighbours of which one is inside and one is outside, in grey levels.

    $$ J = \frac{127.5}{|B|} \sum_{(p, q) \in B} \tfrac{1}{3} |x_p - x_q|_1 $$

    B: all pairs of pixels side by side, or one above the other, across the border of the mask.
    """
    across = (image.diff(dim=2).abs().mean(dim=0), inside[:, 1:] != inside[:, :-1])
    down = (image.diff(dim=1).abs().mean(dim=0), inside[1:] != inside[:-1])
    jumps = torch.cat([steps[border] for steps, border in (across, down)])
    return 127.5 * float(jumps.double().mean())


def repainting(
    model: LatentDiffusion, probe: Probe, settings: Settings, n: int, *, progress: bool = True
) -> dict[str, Any]:
    """`n` cases: is the new kind there, is its colour, and how much does the border of the mask show?

    `masked` is the share of the picture that is painted anew; `seams` says what `seam` holds.
    """
    size = model.config.image_size
    todo = list(islice(cases(size), n))
    pictures: list[Image.Image] = []
    for i, case in enumerate(
        tqdm(todo, desc="in-painting", disable=not progress, dynamic_ncols=True)
    ):
        pictures += inpaint(
            model, case.target.caption(full=True), draw_scene(case.source, size), case.mask, seed=i,
            steps=settings.steps, sampler=settings.sampler, guidance_scale=settings.guidance_scale,
            progress=False,
        )  # fmt: skip
    images = as_images(pictures)
    seen = look(probe, images).scenes
    wanted = [case.target.objects[0] for case in todo]
    found = [
        next((t for t in s.objects if t.place == w.place), None)
        for s, w in zip(seen, wanted, strict=True)
    ]
    pairs = list(zip(wanted, found, strict=True))
    kind = [f is not None and f.kind == w.kind for w, f in pairs]
    colour = [f is not None and f.colour == w.colour for w, f in pairs]
    inside = [mask_to_tensor(case.mask)[0, 0] > 0 for case in todo]
    return {
        "n_cases": n,
        "kind": share(kind).as_data(),
        "colour": share(colour).as_data(),
        "both": share([k and c for k, c in zip(kind, colour, strict=True)]).as_data(),
        "masked": float(torch.stack(inside).double().mean()),
        "seam": seams(model, todo, images),
    }


@torch.inference_mode()
def seams(
    model: LatentDiffusion, todo: Sequence[Case], painted: Float[Tensor, "n 3 h w"]
) -> dict[str, float]:
    """The mean `border_jump` of pictures, of the target drawn by code, and of its round trip in the mask.

    Outside the mask all three are the source. So the round trip shows how much of the seam the
    autoencoder makes, which the U-Net cannot help.
    """
    size = painted.shape[-1]
    drawn = torch.stack([scene_image(case.target, size) for case in todo])
    inside = torch.stack([mask_to_tensor(case.mask)[0, 0] > 0 for case in todo])
    decoded = [
        eight_bit(model.decode_latent(model.encode_image(image[None])).float().cpu())
        for image in drawn
    ]
    pasted = torch.where(inside[:, None], torch.cat(decoded), drawn)
    sets = {"painted": painted, "round trip": pasted, "drawn by code": drawn}
    return {
        name: sum(border_jump(x, m) for x, m in zip(images, inside, strict=True)) / len(todo)
        for name, images in sets.items()
    }
