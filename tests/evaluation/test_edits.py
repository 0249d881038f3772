import pytest
import torch

from labml_sd.evaluation import edits
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.edits import (
    contradicting_scene,
    negative_prompts,
    rms,
    setback,
    setbacks,
    strengths,
)
from labml_sd.evaluation.probe import Probe, ProbeRecipe, Readings
from labml_sd.tiny.scenes import Scene

SETTINGS = SamplingSettings(steps=2)


@pytest.fixture(scope="module")
def probe():
    torch.manual_seed(0)
    return Probe(ProbeRecipe(grid=16, channels=8, d_features=6)).eval()


def test_an_unlike_scene_shares_no_value():
    for index in range(30):
        scene = Scene.sample(1, index, n_objects=1)
        other = contradicting_scene(scene, index)
        assert all(
            other.attributes()[name] != value for name, value in scene.attributes().items()
        )


def test_the_rms_is_in_grey_levels():
    x = torch.zeros(2, 3, 4, 4)
    assert rms(x, x + 10 / 127.5) == pytest.approx(10.0, abs=1e-4)
    assert rms(
        x, torch.where(torch.arange(4) < 2, 0.0, 4 / 127.5).expand_as(x)
    ) == pytest.approx(8**0.5, abs=1e-4)


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


def test_a_table_is_monotonic_when_the_source_fades_and_the_prompt_comes():
    kept, shown, moved = [0.9, 0.5, 0.5], [0.1, 0.4, 0.8], [3.0, 9.0, 8.0]
    rows = [
        {"kept": {"mean": k}, "shown": {"mean": s}, "rms": m}
        for k, s, m in zip(kept, shown, moved, strict=True)
    ]
    assert setbacks(rows) == {"kept": 0.0, "shown": 0.0, "rms": 1.0}


def test_the_same_prompts_are_drawn_without_and_with_each_negative_prompt(
    model, probe, monkeypatch
):
    asked: list[tuple[tuple[str, ...], str]] = []
    generate = edits.generate

    def recorded(model, captions, settings, *, negative_prompt, on_progress):
        asked.append((tuple(captions), negative_prompt))
        return generate(
            model, captions, settings, negative_prompt=negative_prompt, on_progress=on_progress
        )

    monkeypatch.setattr(edits, "generate", recorded)
    data = negative_prompts(model, probe, SETTINGS, 3, progress=False)
    assert [negative for _, negative in asked] == ["", "the moon", "", "the sun"]
    assert asked[0][0] == asked[1][0] and asked[2][0] == asked[3][0]
    assert not any(
        word in caption
        for captions, _ in asked
        for caption in captions
        for word in ("moon", "sun ")
    )
    assert data["moon"]["with"]["shown"]["n"] == 3


def test_a_light_is_counted_where_it_is_seen(model, probe, monkeypatch):
    lit = Scene.sample(0, 0, n_objects=1)
    monkeypatch.setattr(
        edits,
        "read_batches",
        lambda probe, batches: Readings([lit] * len(list(batches)) * 2, torch.zeros(2, 1)),
    )
    data = negative_prompts(model, probe, SETTINGS, 2, progress=False)
    for light in ("moon", "sun"):
        assert data[light]["without"]["shown"]["mean"] == float(lit.light == light)


def test_every_strength_has_a_row_and_source_and_prompt_are_told_apart(
    model, probe, monkeypatch
):
    sources = [Scene.sample(edits.SEED, i, n_objects=1) for i in range(2)]
    monkeypatch.setattr(edits, "STRENGTHS", (0.5, 1.0))
    monkeypatch.setattr(
        edits, "read_images", lambda probe, images: Readings(sources, torch.zeros(2, 1))
    )
    data = strengths(model, probe, SETTINGS, 2, progress=False)
    assert [row["strength"] for row in data["rows"]] == [0.5, 1.0]
    assert {row["kept"]["mean"] for row in data["rows"]} == {1.0}
    assert {row["shown"]["mean"] for row in data["rows"]} == {0.0}
    assert all(row["rms"] > 0.0 for row in data["rows"]) and set(data["setbacks"]) == {
        "kept",
        "shown",
        "rms",
    }
