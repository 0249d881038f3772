import json
from dataclasses import replace

import pytest
import torch

from labml_sd.errors import CheckpointError, GenerationError, ImageError, PromptError
from labml_sd.training.learn_embedding import EmbeddingSettings, learn_embedding

SETTINGS = EmbeddingSettings(
    token="<toy>", init="r", vectors=2, templates=("a {}",), batch_size=2, steps=3
)


@pytest.fixture
def data(tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        photo(48 + i, 40).save(folder / f"{i}.png")
    return folder


def learn(model, data, folder, settings=SETTINGS, **more):
    return learn_embedding(model, data, settings, folder, progress=False, **more)


def test_a_folder_of_pictures_becomes_an_embedding(make_model, data, tmp_path):
    found = learn(make_model().float(), data, tmp_path / "run")
    assert (found.name, found.vectors.shape) == ("<toy>", (2, 16))
    assert torch.isfinite(found.vectors).all()
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"embedding.pt", "embedding.csv", "embedding.png", "embedding.json"} <= files


def test_a_run_of_fewer_steps_is_continued(make_model, data, tmp_path):
    learn(make_model().float(), data, tmp_path / "run", n_steps=2)
    more = learn(make_model().float(), data, tmp_path / "run", n_steps=5)
    assert not torch.equal(more.vectors[0], more.vectors[1])
    rows = (tmp_path / "run" / "embedding.csv").read_text().splitlines()
    assert len(rows) == 1 + 5


def test_gradient_checkpointing_gives_the_same_vectors(make_model, data, tmp_path):
    plain = learn(make_model().float(), data, tmp_path / "plain")
    saving = learn(make_model().float(), data, tmp_path / "saving", gradient_checkpointing=True)
    assert torch.equal(plain.vectors, saving.vectors)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"init": "h"}, "init"),
        ({"token": "<other>"}, "token"),
        ({"templates": ("{}",)}, "templates"),
        ({"batch_size": 3}, "batch_size"),
        ({"mirror": False}, "mirror"),
        ({"learning_rate": 0.1}, "learning_rate"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    make_model, data, tmp_path, change, what
):
    model = make_model().float()
    learn(model, data, tmp_path / "run", n_steps=1)
    with pytest.raises(CheckpointError, match=f"has a run with another {what}; give the same"):
        learn(model, data, tmp_path / "run", replace(SETTINGS, **change))


def test_other_pictures_or_another_model_are_refused(make_model, data, tmp_path, photo):
    learn(make_model().float(), data, tmp_path / "run")
    other = make_model().float()
    other.unet.out[2].bias += 1.0
    with pytest.raises(CheckpointError, match="another model;"):
        learn(other, data, tmp_path / "run")
    photo(50, 50).save(data / "new.png")
    with pytest.raises(CheckpointError, match="another data;"):
        learn(make_model().float(), data, tmp_path / "run")
    (tmp_path / "run" / "embedding.json").write_text("[")
    with pytest.raises(CheckpointError, match="damaged; delete it"):
        learn(make_model().float(), data, tmp_path / "run")


def test_the_settings_are_noted(make_model, data, tmp_path):
    learn(make_model().float(), data, tmp_path / "run")
    noted = json.loads((tmp_path / "run" / "embedding.json").read_text())
    assert noted["token"] == "<toy>" and noted["size"] == 32 and noted["learning_rate"] > 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vectors": 0}, GenerationError, "vectors is 0"),
        ({"batch_size": 0}, GenerationError, "batch_size is 0"),
        ({"steps": 0}, GenerationError, "steps is 0"),
        ({"size": 100}, GenerationError, "a multiple of 64"),
        ({"learning_rate": -1.0}, GenerationError, "learning_rate is -1"),
        ({"init": "r h"}, PromptError, "learn 2 vectors|is 2 tokens"),
        ({"token": ""}, PromptError, "cannot be the name"),
        ({"templates": ("a toy",)}, PromptError, "expected one"),
    ],
)
def test_what_cannot_be_learned_is_found_before_anything_is_written(
    model, data, tmp_path, change, error, message
):
    settings = replace(SETTINGS, **{"vectors": 1, **change})
    with pytest.raises(error, match=message):
        learn(model, data, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_pictures_is_refused(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no pictures"):
        learn(model, tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()
