import pytest
import torch

from labml_sd.evaluation import edits
from labml_sd.evaluation.draw_and_read import Measurement, as_images
from labml_sd.evaluation.edits import (
    contradicting_scene,
    negative_prompts,
    setback,
    strengths,
)
from labml_sd.evaluation.probe import Readings
from labml_sd.images.tensors import to_pil
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene


def test_an_unlike_scene_shares_no_value():
    for index in range(30):
        scene = Scene.sample(1, index, n_objects=1)
        other = contradicting_scene(scene, index)
        assert all(
            other.attributes()[name] != value for name, value in scene.attributes().items()
        )


@pytest.mark.holds("labml_sd.evaluation.edits.setback")
@pytest.mark.parametrize(
    ("values", "rising", "expected"),
    [
        ([1, 2, 2, 5], True, 0.0),
        ([1, 4, 2, 5, 4], True, 2.0),
        ([5, 2, 2], False, 0.0),
        ([5, 2, 3], False, 1.0),
    ],
)
def test_the_setback_is_the_largest_step_the_wrong_way(values, rising, expected):
    assert setback([float(v) for v in values], rising=rising) == expected


def test_the_same_prompts_are_drawn_without_and_with_each_negative_prompt(
    measurement, monkeypatch
):
    asked: list[tuple[tuple[str, ...], str]] = []
    generate = Measurement.generate

    def recorded(self, captions, settings, negative_prompt=""):
        asked.append((tuple(captions), negative_prompt))
        return generate(self, captions, settings, negative_prompt)

    monkeypatch.setattr(Measurement, "generate", recorded)
    data = negative_prompts(measurement(n_prompts=15))
    assert [negative for _, negative in asked] == ["", "the moon", "", "the sun"]
    assert asked[0][0] == asked[1][0] and asked[2][0] == asked[3][0]
    assert not any(
        word in caption
        for captions, _ in asked
        for caption in captions
        for word in ("moon", "sun ")
    )
    assert data["moon"]["with"]["shown"]["n"] == 3


def test_a_light_is_counted_where_it_is_seen(measurement, monkeypatch):
    lit = Scene.sample(0, 0, n_objects=1)
    monkeypatch.setattr(
        Measurement,
        "read",
        lambda self, batches: Readings([lit] * sum(map(len, batches)), torch.zeros(2, 1)),
    )
    data = negative_prompts(measurement(n_prompts=10))
    for light in ("moon", "sun"):
        assert data[light]["without"]["shown"]["mean"] == float(lit.light == light)


def test_every_strength_has_a_row_and_source_and_prompt_are_told_apart(
    measurement, monkeypatch
):
    sources = [Scene.sample(edits.SEED, i, n_objects=1) for i in range(2)]
    monkeypatch.setattr(edits, "STRENGTHS", (0.5, 1.0))
    monkeypatch.setattr(
        edits, "read_images", lambda probe, images: Readings(sources, torch.zeros(2, 1))
    )
    data = strengths(measurement(n_prompts=20))
    assert [row["strength"] for row in data["rows"]] == [0.5, 1.0]
    assert {row["kept"]["mean"] for row in data["rows"]} == {1.0}
    assert {row["shown"]["mean"] for row in data["rows"]} == {0.0}


def test_the_change_is_in_grey_levels_and_each_column_has_its_wrong_direction(
    measurement, monkeypatch
):
    scene = Scene.sample(edits.SEED, 0, n_objects=1)
    drawn = as_images([draw_scene(scene, 32)])
    edited = iter([drawn + torch.where(drawn > 0, -n, n) / 127.5 for n in (3.0, 9.0, 8.0)])
    read = iter([scene, contradicting_scene(scene, 0), scene])
    monkeypatch.setattr(edits, "STRENGTHS", (0.1, 0.5, 1.0))
    monkeypatch.setattr(edits, "img2img", lambda *args, **options: to_pil(next(edited)))
    monkeypatch.setattr(
        edits, "read_images", lambda probe, images: Readings([next(read)], torch.zeros(1, 1))
    )
    data = strengths(measurement(n_prompts=10))
    assert [row["rms"] for row in data["rows"]] == pytest.approx([3.0, 9.0, 8.0])
    assert data["setbacks"] == pytest.approx({"kept": 1.0, "shown": 1.0, "rms": 1.0})
