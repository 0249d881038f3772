import sys

import huggingface_hub
import pytest
import torch
from PIL import Image

import labml_sd as sd
from labml_sd.errors import CheckpointError, GenerationError, ImageError, PromptError
from labml_sd.interrogator.interrogators import ClipInterrogator, SceneInterrogator
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene

CPU = {"device": "cpu", "progress": False}
SCENE = Scene.sample(31, 0)


@pytest.fixture
def drawn(tmp_path):
    path = tmp_path / "scene.png"
    draw_scene(SCENE, 128).save(path)
    return path


def test_a_scene_is_read_back_from_a_file_and_from_a_picture(drawn):
    tiny = sd.load_interrogator(device="cpu")
    assert isinstance(tiny, SceneInterrogator) and isinstance(tiny, sd.Interrogator)
    prompt = sd.interrogate(drawn, **CPU)
    assert prompt == SCENE.caption(full=True)
    assert sd.interrogate(str(drawn), tiny, progress=False) == prompt
    assert sd.interrogate(Image.open(drawn), tiny, progress=False) == prompt


def test_a_picture_that_is_no_scene_is_answered_with_a_warning():
    image = Image.new("RGB", (300, 200), "grey")
    with pytest.warns(UserWarning, match="unlike the scenes of the tiny model"):
        sd.interrogate(image, **CPU)


def test_blip_and_clip_are_loaded_from_folders(clip_folder, blip_folder, picture, tmp_path):
    names = {"caption_model": blip_folder, "cache": tmp_path / "cache"}
    model = sd.load_interrogator(str(clip_folder), **names, device="cpu")
    assert isinstance(model, ClipInterrogator)
    assert model.clip.network.dtype == model.captioner.network.dtype == torch.float32
    prompt = sd.interrogate(picture, model, mode="classic", progress=False)
    assert sd.interrogate(picture, clip_folder, mode="classic", **names, **CPU) == prompt
    assert prompt.count(", ") == 6
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_lists_of_the_user_replace_ours(clip_folder, blip_folder, picture, tmp_path):
    for name in ("mediums", "artists", "movements", "flavours"):
        (tmp_path / f"{name}.txt").write_text(f"own {name}\n")
    prompt = sd.interrogate(
        picture, clip_folder, mode="classic", caption_model=blip_folder,
        phrases=tmp_path, cache=tmp_path, **CPU,
    )  # fmt: skip
    assert prompt.endswith(", own mediums, by own artists, own movements, own flavours")


@pytest.mark.parametrize("name", ["caption_model", "phrases", "cache"])
def test_the_tiny_model_takes_nothing_of_clips(name, drawn):
    with pytest.raises(GenerationError, match=f"{name} is 'x', and the tiny model takes none"):
        sd.interrogate(drawn, **{name: "x"}, **CPU)


def test_wrong_calls_are_answered_in_one_line(drawn, clip_folder, blip_folder, tmp_path):
    blip = {"caption_model": blip_folder, "cache": tmp_path}
    wrong = [
        (ImageError, "does not exist", lambda: sd.interrogate(tmp_path / "none.png", **CPU)),
        (GenerationError, "one way only", lambda: sd.interrogate(drawn, mode="best", **CPU)),
        (
            GenerationError,
            "mode is 'worst'; expected fast, classic, best",
            lambda: sd.interrogate(drawn, clip_folder, mode="worst", **blip, **CPU),
        ),
        (
            PromptError,
            "holds no list",
            lambda: sd.interrogate(drawn, clip_folder, phrases=tmp_path / "x", **blip, **CPU),
        ),
        (
            CheckpointError,
            "expected 'clip'",
            lambda: sd.interrogate(drawn, blip_folder, **blip, **CPU),
        ),
        (
            CheckpointError,
            "expected 'blip'",
            lambda: sd.interrogate(drawn, clip_folder, caption_model=clip_folder, **CPU),
        ),
        (CheckpointError, "is not a folder", lambda: sd.interrogate(drawn, "clip", **CPU)),
        (GenerationError, "device", lambda: sd.interrogate(drawn, device="abacus")),
    ]
    for kind, message, call in wrong:
        with pytest.raises(kind, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_without_a_network_what_to_fetch_is_named(drawn, clip_folder, monkeypatch):
    def unreachable(hub_id, allow_patterns):
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(CheckpointError, match="hf download openai/clip-vit-large-patch14"):
        sd.interrogate(drawn, "openai/clip-vit-large-patch14", **CPU)
    blip = "Salesforce/blip-image-captioning-large"
    with pytest.raises(CheckpointError, match=f"hf download {blip}"):
        sd.interrogate(drawn, clip_folder, **CPU)


def test_a_wrong_mode_is_told_before_anything_is_loaded(drawn, monkeypatch):
    module = sys.modules["labml_sd.interrogator.interrogate"]
    monkeypatch.setattr(module, "load_interrogator", None)  # would fail if it were called
    with pytest.raises(GenerationError, match="expected fast, classic, best"):
        sd.interrogate(drawn, "openai/clip-vit-large-patch14", mode="worst", **CPU)
