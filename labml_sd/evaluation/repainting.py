r"""Measures in-painting: an object is masked, and the prompt asks for another in its place.

Maps       model, probe  ->  shares of pictures with the new kind and its colour, and of right
           attributes of the whole scene
           model, probe  ->  the jump of the pixels across the border of the mask
Tests      tests/evaluation/test_repainting.py
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from statistics import fmean
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from labml_sd.evaluation.compare_attributes import compare_attributes, share
from labml_sd.evaluation.draw_and_read import SEED, Measurement, as_images, eight_bit
from labml_sd.evaluation.probe import read_images
from labml_sd.images.tensors import mask_to_tensor
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import inpaint
from labml_sd.tiny.drawing import changed_box, draw_scene
from labml_sd.tiny.scenes import COLOURS, HELD_OUT, ON_LAND, Place, Scene
from labml_sd.training.data import image_batch

Hole = Literal["box", "half"]
MARGIN = 2  # pixels around both objects


@dataclass(frozen=True)
class Case:
    """A scene of one object, the scene with another object, and a mask around both objects."""

    source: Scene
    target: Scene
    mask: Image.Image  # white is repainted


def cases(size: int, hole: Hole = "box") -> Iterator[Case]:
    """Endless different cases, for pictures of `size` pixels.

    The hole is the box around both objects, or the half of the picture that they are in.
    """
    for index in count():
        source = Scene.sample(SEED, index, n_objects=1)
        (old,) = source.objects
        if old.kind not in ON_LAND or (hole == "half" and old.place == "middle"):
            continue
        rng = random.Random(f"repaint {index}")
        pairs = [(k, c) for k in ON_LAND for c in COLOURS if k != old.kind and c != old.colour]
        kind, colour = rng.choice([pair for pair in pairs if pair not in HELD_OUT])
        target = replace(source, objects=(replace(old, kind=kind, colour=colour),))
        if hole == "half":
            yield Case(source, target, half_mask(old.place, size))
        else:
            yield Case(source, target, box_mask(changed_box(source, target, size), size))


def box_mask(box: tuple[int, int, int, int], size: int) -> Image.Image:
    """White in a box, with a margin."""
    left, top, right, bottom = box
    mask = Image.new("L", (size, size), 0)
    mask.paste(
        255, (max(0, left - MARGIN), max(0, top - MARGIN), right + MARGIN, bottom + MARGIN)
    )
    return mask


def half_mask(place: Place, size: int) -> Image.Image:
    """White in the left or the right half."""
    mask = Image.new("L", (size, size), 0)
    left = 0 if place == "left" else size // 2
    mask.paste(255, (left, 0, left + size // 2, size))
    return mask


def border_jump(image: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"]) -> float:
    r"""Mean difference of neighbouring pixels across the border of a mask, in grey levels.

    $$ J = \frac{127.5}{|B|} \sum_{(p, q) \in B} \tfrac{1}{3} |x_p - x_q|_1 $$

    B: all horizontal and vertical pairs of neighbours of which one is inside the mask.
    """
    across = (image.diff(dim=2).abs().mean(dim=0), inside[:, 1:] != inside[:, :-1])
    down = (image.diff(dim=1).abs().mean(dim=0), inside[1:] != inside[:-1])
    jumps = torch.cat([steps[border] for steps, border in (across, down)])
    return 127.5 * float(jumps.double().mean())


def repainting(m: Measurement) -> dict[str, Any]:
    """`repainted` with a box as the hole, and under "half" with half of the picture."""
    m.bar.reset(total=2 * m.share(5))
    return {**repainted(m, "box"), "half": repainted(m, "half")}


def repainted(m: Measurement, hole: Hole) -> dict[str, Any]:
    """The shares of cases with the new kind and its colour, and the jump at the border.

    `mean` is the share of the attributes of the whole scene that are right, `masked` the share
    of the picture that is repainted; for `seam` see `seams`. The prompt describes the scene;
    with half of the picture hidden only the new object, so that all else must be taken from
    the half that is visible.
    """
    measured = list(islice(cases(m.size, hole), m.share(5)))
    pictures: list[Image.Image] = []
    for seed, case in enumerate(measured):
        (new,) = case.target.objects
        prompt = case.target.caption(full=True) if hole == "box" else new.caption()
        image = draw_scene(case.source, m.size)
        pictures += inpaint(
            m.model, prompt, image, case.mask, seed=seed, progress=False, **asdict(m.settings)
        )
        m.bar.update()
    images = as_images(pictures)
    right: dict[str, list[float]] = {"kind": [], "colour": [], "both": [], "mean": []}
    for case, scene in zip(measured, read_images(m.probe, images).scenes, strict=True):
        (new,) = case.target.objects
        seen = next((item for item in scene.objects if item.place == new.place), None)
        kind, colour = (seen.kind, seen.colour) if seen else ("none", "none")
        right["kind"].append(kind == new.kind)
        right["colour"].append(colour == new.colour)
        right["both"].append((kind, colour) == (new.kind, new.colour))
        right["mean"].append(compare_attributes(case.target, scene)["mean"])
    inside = torch.cat([mask_to_tensor(case.mask)[0] > 0 for case in measured])
    return {
        "n_cases": len(measured),
        **{name: share(values) for name, values in right.items()},
        "masked": float(inside.double().mean()),
        "seam": seams(m.model, measured, inside, images),
    }


@torch.inference_mode()
def seams(
    model: LatentDiffusion,
    measured: Sequence[Case],
    inside: Bool[Tensor, "n h w"],
    painted: Float[Tensor, "n 3 h w"],
) -> dict[str, float]:
    """The mean `border_jump` of the pictures, of the targets, and of their reconstructions.

    `painted`: the in-painted pictures. `drawn by code`: the targets. `round trip`: the targets,
    inside the mask reconstructed by the autoencoder, which shows its share of the seam. Outside
    the mask all three equal the source.
    """
    drawn = image_batch([case.target for case in measured], painted.shape[-1])
    decoded = [
        eight_bit(model.decode_latent(model.encode_image(image[None])).float().cpu())
        for image in drawn
    ]
    pasted = torch.where(inside[:, None], torch.cat(decoded), drawn)
    sets = {"painted": painted, "round trip": pasted, "drawn by code": drawn}
    return {
        name: fmean(border_jump(x, m) for x, m in zip(images, inside, strict=True))
        for name, images in sets.items()
    }
