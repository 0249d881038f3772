import re
from dataclasses import replace
from itertools import combinations, product

import pytest
import torch

import labml_sd as sd
from labml_sd.evaluation.compare_attributes import tally
from labml_sd.interrogator.scene_reader import SceneReader, from_left_to_right
from labml_sd.tiny.neighbours import empty_scenes, is_possible, objects_on, one_more
from labml_sd.tiny.scenes import PLACES, Scene
from labml_sd.training.data import image_batch

N_DRAWN, N_OF_MODEL = 60, 30  # pictures of the slow tests


@pytest.fixture(scope="module")
def reader():
    return sd.load_interrogator(device="cpu").reader


def without_jitter(scene):
    return replace(from_left_to_right(scene), jitter=0)


def test_drawn_scenes_are_read(reader):
    scenes = [Scene.sample(31, index) for index in range(6)]
    found = reader.read(image_batch(scenes, 128))
    n_right = sum(without_jitter(s) == seen for s, (seen, _) in zip(scenes, found, strict=True))
    assert n_right >= 5
    assert all(0.5 < closeness <= 1 + 1e-5 for _, closeness in found)


def test_a_reading_is_possible_and_goes_from_left_to_right(reader):
    draw = torch.Generator().manual_seed(0)
    noise = 2 * torch.rand(2, 3, 40, 90, generator=draw) - 1
    for scene, closeness in reader.read(noise):
        assert is_possible(scene)
        places = [PLACES.index(item.place) for item in scene.objects]
        assert places == sorted(places)
        assert -1 <= closeness <= 1


class OneVector(SceneReader):
    """Vectors of captions are given, and counted."""

    def __init__(self, worth):
        self.worth, self.n, self._vectors = worth, 0, {}

    def embed_images(self, images):
        return torch.ones(len(images), 1)

    def embed_captions(self, captions):
        listed = list(captions)
        self.n += len(listed)
        return torch.tensor([[self.worth(caption)] for caption in listed])


OBJECT = re.compile(r"an? (small|large) (\w+) (\w+) (on the left|in the middle|on the right)")


def parsed(caption):
    """The objects of a full caption by their places, and the words of the rest."""
    objects = {
        place: (size, colour, kind) for size, colour, kind, place in OBJECT.findall(caption)
    }
    return objects, OBJECT.sub("", caption).replace("over", "in").split()


def test_the_search_finds_what_is_best_if_parts_count_one_by_one():
    for index in range(30):
        scene = without_jitter(Scene.sample(11, index))
        objects, rest = parsed(scene.caption(full=True))

        def worth(caption, objects=objects, rest=rest):
            found, words = parsed(caption)
            right = sum(
                value in objects[place]
                for place, values in found.items()
                if place in objects
                for value in values
            )
            n_wrong_places = len(found.keys() ^ objects.keys())
            return float(right - n_wrong_places - len(set(words) ^ set(rest)))

        stub = OneVector(worth)
        ((found, closeness),) = stub.read(torch.zeros(1, 3, 8, 8))
        assert found == scene
        assert closeness == 3 * len(objects)
        assert stub.n < 20_000  # of half a million


def test_captions_are_encoded_once(reader, monkeypatch):
    captions = ["a red house in the snow at night", "a cat", "a cat"]
    first = reader.embed_captions(captions)
    monkeypatch.setattr(reader.text, "ids", None)  # would fail if it were called
    assert torch.equal(reader.embed_captions(captions), first)
    assert torch.equal(first[1], first[2])


@pytest.mark.slow
def test_no_scene_on_the_sea_fits_better_than_the_one_that_is_found(reader):
    scenes = [s for s in (Scene.sample(32, i) for i in range(40)) if s.ground == "sea"]
    sea = [
        replace(empty, objects=objects)
        for empty in empty_scenes()
        if empty.ground == "sea"
        for n in (0, 1, 2)
        for objects in combinations(objects_on("sea"), n)
    ]
    sea = [*{from_left_to_right(scene) for scene in sea if is_possible(scene)}]
    vectors = reader.embed_captions(scene.caption(full=True) for scene in sea)
    images = image_batch(scenes, 128)
    best = (reader.embed_images(images) @ vectors.T).amax(dim=1)
    found = torch.tensor([closeness for _, closeness in reader.read(images)])
    torch.testing.assert_close(found, best, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_at_least_95_percent_of_the_attributes_of_drawn_scenes_are_right(reader):
    scenes = [Scene.sample(777_001, index) for index in range(N_DRAWN)]
    seen = [scene for scene, _ in reader.read(image_batch(scenes, 128))]
    shares = tally(scenes, seen)
    assert shares["mean"]["mean"] >= 0.97
    assert min(share["mean"] for share in shares.values()) >= 0.9


@pytest.mark.slow
def test_at_least_90_percent_of_the_attributes_of_the_models_pictures_are_right(reader):
    model = sd.load_model(device="cpu", dtype="float32")
    scenes = [Scene.sample(424_242, index) for index in range(N_OF_MODEL)]
    prompts = [scene.caption(full=True) for scene in scenes]
    images = torch.cat([sd.load_img(p) for p in sd.txt2img(model, prompts, progress=False)])
    shares = tally(scenes, [scene for scene, _ in reader.read(images)])
    assert shares["mean"]["mean"] >= 0.93
    assert min(shares[name]["mean"] for name in ("kind", "colour", "place", "size")) >= 0.85


def test_one_more_covers_all_pairs():
    empty = next(scene for scene in empty_scenes() if scene.ground == "sea")
    pairs = {s for one in one_more(empty) for s in map(from_left_to_right, one_more(one))}
    objects = objects_on("sea")
    expected = [
        replace(empty, objects=(a, b))
        for a, b in product(objects, objects)
        if PLACES.index(a.place) < PLACES.index(b.place)
    ]
    assert pairs == {scene for scene in expected if is_possible(scene)}
