import copy
import json

import pytest
import torch

from labml_sd.errors import CheckpointError
from labml_sd.evaluation import results as module
from labml_sd.evaluation.results import (
    FILE,
    fingerprint,
    read_results,
    results_of,
    row_cache,
    write_results,
)


def test_the_fingerprint_tells_weights_apart(model):
    other = copy.deepcopy(model)
    assert fingerprint(other) == fingerprint(model) and len(fingerprint(model)) == 10
    with torch.no_grad():
        next(other.autoencoder.parameters()).add_(0.1)
    assert fingerprint(other) != fingerprint(model)


def test_results_of_the_same_model_are_kept_and_of_another_dropped(model, tmp_path):
    new = results_of(tmp_path, model)
    assert new["parts"] == {} and new["model"] == {
        "name": "small",
        "weights": fingerprint(model),
    }
    write_results(tmp_path, new | {"parts": {"edits": 1}})
    assert results_of(tmp_path, model)["parts"] == {"edits": 1}
    write_results(
        tmp_path, new | {"parts": {"edits": 1}, "model": {"name": "small", "weights": "0"}}
    )
    assert results_of(tmp_path, model)["parts"] == {}


def test_an_unfinished_file_leaves_the_old_one(tmp_path, monkeypatch):
    write_results(tmp_path, {"format": 1, "old": True})

    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_results(tmp_path, {"format": 1})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert json.loads((tmp_path / FILE).read_bytes()) == {"format": 1, "old": True}


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "run labml-sd train evaluate"), ("{", "delete it"), ("[]", "another version")],
)
def test_results_that_cannot_be_read_are_a_one_line_error(text, told, tmp_path):
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(CheckpointError, match=told) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_each_row_is_written_at_once_and_computed_once(model, tmp_path):
    results, made = results_of(tmp_path, model), []

    def make():
        made.append(1)
        return {"mean": 0.5}

    first = row_cache(tmp_path, results, "samplers").row("ddim", make)
    found = results_of(tmp_path, model)
    assert found["unfinished"] == {"samplers": {"ddim": {"mean": 0.5}}} and found["parts"] == {}
    assert row_cache(tmp_path, found, "samplers").row("ddim", make) == first and made == [1]
    row_cache(tmp_path, found, "samplers").row("euler", make)
    assert list(results_of(tmp_path, model)["unfinished"]["samplers"]) == ["ddim", "euler"]
