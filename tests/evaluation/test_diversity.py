import math

import pytest
import torch

from labml_sd.evaluation.diversity import (
    OPEN,
    OPEN_PROMPTS,
    diversity,
    entropy,
    open_attributes,
    open_scenes,
    pairwise_distance,
)
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Readings
from labml_sd.tiny.scenes import KINDS, Scene, SceneObject

PLAIN = Axes(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


@pytest.mark.holds("labml_sd.evaluation.diversity.pairwise_distance")
def test_the_distance_is_the_mean_over_all_pairs():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    assert pairwise_distance(points) == pytest.approx((5.0 + 1.0 + math.hypot(3, 3)) / 3)


@pytest.mark.holds("labml_sd.evaluation.diversity.entropy")
def test_the_entropy_is_in_bits():
    assert entropy(["sea"] * 5) == 0.0
    assert entropy(["sea", "snow", "grass", "beach"]) == pytest.approx(2.0)
    assert entropy(["sun", "sun", "sun", "moon"]) == pytest.approx(
        -0.75 * math.log2(0.75) - 0.25 * math.log2(0.25)
    )


def test_every_open_prompt_gets_scenes_of_its_kind_and_no_scene_twice():
    scenes = open_scenes(4)
    assert [scene.objects[0].kind for scene in scenes] == [
        kind for kind in KINDS for _ in range(4)
    ]
    assert len(set(scenes)) == len(scenes) == 4 * len(OPEN_PROMPTS)


def test_repeated_pictures_have_no_diversity():
    scenes = [
        Scene("day", "sea", None, (SceneObject(kind, "red", "left", "small"),))
        for kind in KINDS
        for _ in range(3)
    ]
    still = diversity(Readings(scenes, torch.ones(18, 2, dtype=torch.float64)), PLAIN)
    assert set(still) == {"distance", "entropy", *OPEN} and set(still.values()) == {0.0}


def test_one_attribute_that_varies_is_the_only_one_with_entropy():
    scenes = [
        Scene(sky, "sea", None, (SceneObject(kind, "red", "left", "small"),))
        for kind in KINDS
        for sky in ("day", "night")
    ]
    points = torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64).repeat(6, 1)
    measured = diversity(Readings(scenes, points), PLAIN)
    assert measured["distance"] == pytest.approx(2.0)
    assert (
        measured["sky"] == pytest.approx(1.0)
        and measured["ground"] == measured["colour"] == 0.0
    )
    assert measured["entropy"] == pytest.approx(1 / 6)


def test_an_object_of_another_kind_is_missing():
    scene = Scene(
        "day",
        "sea",
        None,
        (
            SceneObject("cat", "red", "left", "small"),
            SceneObject("boat", "blue", "right", "large"),
        ),
    )
    assert open_attributes(scene, "boat") == {
        **{"sky": "day", "ground": "sea", "light": "none"},
        **{"colour": "blue", "place": "right", "size": "large"},
    }
    assert open_attributes(scene, "tree")["colour"] == "missing"
