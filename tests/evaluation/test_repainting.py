from itertools import islice

import numpy as np
import pytest
import torch

from labml_sd.evaluation import repainting as module
from labml_sd.evaluation.probe import Readings
from labml_sd.evaluation.repainting import (
    MARGIN,
    border_jump,
    box_mask,
    cases,
    repainted,
    repainting,
    seams,
)
from labml_sd.images.tensors import mask_to_tensor
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import HELD_OUT
from labml_sd.training.data import image_batch


def test_another_kind_in_another_colour_takes_the_place_and_all_else_stays():
    for case in islice(cases(32), 40):
        (old,), (new,) = case.source.objects, case.target.objects
        assert (
            old.kind != new.kind
            and old.colour != new.colour
            and (new.kind, new.colour) not in HELD_OUT
        )
        assert (old.place, old.size) == (new.place, new.size)
        assert (
            case.source.ground == case.target.ground
            and case.source.jitter == case.target.jitter
        )


def test_the_mask_covers_both_objects_and_leaves_most_of_the_picture():
    for case in islice(cases(64), 20):
        before, after = (
            np.asarray(draw_scene(s, 64)).astype(int) for s in (case.source, case.target)
        )
        inside = np.asarray(case.mask) == 255
        assert np.array_equal(before[~inside], after[~inside])
        assert 0.02 < inside.mean() < 0.35


def test_a_half_holds_both_objects_and_no_more_than_half():
    for case in islice(cases(64, "half"), 20):
        before, after = (
            np.asarray(draw_scene(s, 64)).astype(int) for s in (case.source, case.target)
        )
        inside = np.asarray(case.mask) == 255
        assert np.array_equal(before[~inside], after[~inside])
        assert inside.mean() == 0.5 and case.source.objects[0].place != "middle"


def test_the_box_has_a_margin_that_ends_with_the_picture():
    assert box_mask((10, 5, 21, 13), 40).getbbox() == (
        10 - MARGIN,
        5 - MARGIN,
        21 + MARGIN,
        13 + MARGIN,
    )
    assert box_mask((0, 1, 40, 39), 40).getbbox() == (0, 0, 40, 40)


def test_the_jump_is_the_mean_step_across_the_border_alone():
    inside = torch.zeros(5, 5, dtype=torch.bool)
    inside[1:4, 1:4] = True
    image = torch.where(inside, 7 / 127.5, 0.0).expand(3, 5, 5).clone()
    assert border_jump(image, inside) == pytest.approx(7.0, abs=1e-4)
    image[:, 2, 2] = 1.0  # not at the border
    assert border_jump(image, inside) == pytest.approx(7.0, abs=1e-4)
    image[:, 0, 1] = 7 / 127.5  # one of 12 pairs is now equal
    assert border_jump(image, inside) == pytest.approx(7.0 * 11 / 12, abs=1e-4)


def test_a_mask_to_the_edge_has_no_border_there():
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[:, :2] = True
    image = torch.where(inside, 1.0, -1.0).expand(3, 4, 4)
    assert border_jump(image, inside) == pytest.approx(255.0)


@pytest.mark.holds("labml_sd.evaluation.repainting.border_jump")
def test_the_jump_is_its_equation_on_any_picture():
    draw = torch.Generator().manual_seed(0)
    image = 2 * torch.rand(3, 5, 6, generator=draw, dtype=torch.float64) - 1
    inside = torch.rand(5, 6, generator=draw) < 0.5
    pairs = [((y, x), (y, x + 1)) for y in range(5) for x in range(5)]
    pairs += [((y, x), (y + 1, x)) for y in range(4) for x in range(6)]
    jumps = [
        (image[:, *p] - image[:, *q]).abs().sum().item() / 3
        for p, q in pairs
        if inside[p] != inside[q]
    ]
    assert border_jump(image, inside) == pytest.approx(
        127.5 * sum(jumps) / len(jumps), rel=1e-12
    )


@pytest.mark.parametrize("hole", ["box", "half"])
@pytest.mark.parametrize(("what", "expected"), [("target", 1.0), ("source", 0.0)])
def test_the_kind_and_the_colour_are_read_at_the_place(
    what, expected, hole, measurement, monkeypatch
):
    scenes = [getattr(case, what) for case in islice(cases(32, hole), 2)]
    monkeypatch.setattr(
        module, "read_images", lambda probe, images: Readings(scenes, torch.zeros(2, 1))
    )
    data = repainted(measurement(n_prompts=10), hole)
    assert {data[name]["mean"] for name in ("kind", "colour", "both")} == {expected}
    assert data["mean"]["mean"] == pytest.approx(1.0 if what == "target" else 6 / 8)
    assert all(jump > 0.0 for jump in data["seam"].values())
    assert data["masked"] == 0.5 if hole == "half" else 0.0 < data["masked"] < 0.5


def test_a_repainting_by_code_has_the_seam_of_code(measurement, monkeypatch):
    done = iter([*islice(cases(32), 2), *islice(cases(32, "half"), 2)])
    monkeypatch.setattr(module, "inpaint", lambda *a, **k: [draw_scene(next(done).target, 32)])
    data = repainting(measurement(n_prompts=10))
    for hole in (data, data["half"]):
        assert hole["seam"]["painted"] == pytest.approx(hole["seam"]["drawn by code"])


def test_a_lossless_autoencoder_makes_no_seam_and_a_darker_one_does(model, monkeypatch):
    todo = list(islice(cases(32), 2))
    drawn = image_batch([case.target for case in todo], 32)
    inside = torch.cat([mask_to_tensor(case.mask)[0] > 0 for case in todo])
    monkeypatch.setattr(model, "encode_image", lambda image: image, raising=False)
    monkeypatch.setattr(model, "decode_latent", lambda z: z, raising=False)
    lossless = seams(model, todo, inside, drawn)
    assert lossless["round trip"] == pytest.approx(lossless["drawn by code"])
    monkeypatch.setattr(model, "decode_latent", lambda z: z - 0.5, raising=False)
    assert seams(model, todo, inside, drawn)["round trip"] > lossless["drawn by code"] + 10.0
