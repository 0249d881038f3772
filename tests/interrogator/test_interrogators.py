import pytest
import torch
from PIL import Image

from labml_sd.errors import GenerationError
from labml_sd.interrogator.captioner import load_captioner
from labml_sd.interrogator.clip import load_clip
from labml_sd.interrogator.interrogators import ClipInterrogator, SceneInterrogator, known_mode
from labml_sd.interrogator.phrase_lists import read_phrases
from labml_sd.interrogator.ranking import MODES
from labml_sd.interrogator.scene_reader import SceneReader
from labml_sd.tiny.scenes import Scene

CPU = torch.device("cpu")


@pytest.fixture
def interrogator(clip_folder, blip_folder, tmp_path):
    clip = load_clip(clip_folder, CPU, torch.float32)
    captioner = load_captioner(blip_folder, CPU, torch.float32)
    return ClipInterrogator(clip, captioner, read_phrases(), tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_is_the_caption_and_phrases_that_clip_reads(mode, interrogator, picture):
    prompt = interrogator.prompt(picture, mode, progress=False)
    caption, *phrases = prompt.split(", ")
    assert caption == interrogator.captioner.caption(picture)
    known = [phrase for phrases in read_phrases().values() for phrase in phrases]
    assert set(phrases) <= set(known) and len(set(phrases)) == len(phrases)
    assert interrogator.clip.fits(prompt)
    assert interrogator.prompt(picture, mode, progress=False) == prompt


def test_best_is_closer_to_the_picture_than_the_caption(interrogator, picture):
    clip = interrogator.clip
    prompts = [interrogator.captioner.caption(picture)]
    prompts.append(interrogator.prompt(picture, "best", progress=False))
    caption, best = (clip.embed_texts(prompts) @ clip.embed_image(picture)).tolist()
    assert best > caption


def test_lists_are_read_by_clip_once_and_kept(interrogator, picture, tmp_path, monkeypatch):
    first = interrogator.prompt(picture, None, progress=False)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    monkeypatch.setattr(interrogator.clip, "_embed", None)  # would fail if it were called
    assert interrogator.prompt(picture, "fast", progress=False) == first
    again = ClipInterrogator(
        interrogator.clip, interrogator.captioner, read_phrases(), tmp_path
    )
    assert again.prompt(picture, None, progress=False) == first


@pytest.mark.parametrize("mode", ["", "Best"])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(GenerationError, match="expected fast, classic, best"):
        known_mode(mode)


class Reader(SceneReader):
    """Reads one scene from every picture."""

    def __init__(self, closeness):
        self.closeness = closeness

    def read(self, images):
        return [(Scene.sample(0, 0), self.closeness) for _ in images]


def test_a_tiny_scene_is_answered_with_its_full_caption(picture):
    prompt = SceneInterrogator(Reader(0.95)).prompt(picture, None, progress=False)
    assert prompt == Scene.sample(0, 0).caption(full=True)


def test_a_picture_that_is_no_tiny_scene_is_answered_with_a_warning():
    with pytest.warns(UserWarning, match="unlike the scenes of the tiny model"):
        SceneInterrogator(Reader(0.1)).prompt(Image.new("RGB", (9, 9)), None, progress=False)


def test_the_tiny_model_has_no_modes(picture):
    with pytest.raises(GenerationError, match="one way only"):
        SceneInterrogator(Reader(0.95)).prompt(picture, "best", progress=False)
