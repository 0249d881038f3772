import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.interrogator.phrase_cache import NAME, cache_folder, cached_vectors


class Counting:
    """Vectors of texts by their lengths, and how often they were asked for."""

    def __init__(self, fingerprint="one"):
        self.fingerprint, self.calls = fingerprint, 0

    def embed_texts(self, texts, *, progress=False):
        self.calls += 1
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def test_a_list_is_read_once(tmp_path):
    clip = Counting()
    first = cached_vectors(clip, ["a", "bcd"], tmp_path)
    again = cached_vectors(clip, ["a", "bcd"], tmp_path)
    assert torch.equal(first, again) and clip.calls == 1
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".safetensors" and torch.equal(load_file(path)[NAME], first)


def test_other_phrases_and_other_networks_have_other_files(tmp_path):
    cached_vectors(Counting(), ["a", "b"], tmp_path)
    for clip, phrases in [
        (Counting(), ["b", "a"]), (Counting(), ["a b"]), (Counting("two"), ["a", "b"])
    ]:  # fmt: skip
        cached_vectors(clip, phrases, tmp_path)
        assert clip.calls == 1
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: save_file({"other": torch.ones(2, 2)}, path),
        lambda path: save_file({NAME: torch.ones(3, 2)}, path),
        lambda path: save_file({NAME: torch.ones(2)}, path),
        lambda path: save_file({NAME: torch.ones(2, 2).half()}, path),
        lambda path: save_file({NAME: torch.full((2, 2), torch.nan)}, path),
    ],
    ids=["empty", "cut", "another tensor", "too many", "one axis", "float16", "nan"],
)
def test_a_damaged_file_is_replaced(tmp_path, damage):
    clip = Counting()
    first = cached_vectors(clip, ["a", "bcd"], tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    assert torch.equal(cached_vectors(clip, ["a", "bcd"], tmp_path), first)
    assert clip.calls == 2 and torch.equal(load_file(path)[NAME], first)


def test_without_a_place_to_write_a_warning_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    clip = Counting()
    with pytest.warns(UserWarning, match="phrases are not kept"):
        vectors = cached_vectors(clip, ["a"], tmp_path / "file" / "cache")
    assert vectors.tolist() == [[1.0, 1.0]]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labml_sd.interrogator.phrase_cache.save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        cached_vectors(Counting(), ["a"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_in_the_cache_of_the_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "labml_sd" / "interrogator" / "phrases"
