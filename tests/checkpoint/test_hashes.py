import copy
import hashlib
import json
import os
import pickle
from threading import Event

import pytest

from labml_sd.checkpoint import hashes, model_hash
from labml_sd.checkpoint.hashes import WeightsFile
from labml_sd.errors import CheckpointError


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The file of notes, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/labml_sd/model_hashes.json"


@pytest.fixture
def large(tmp_path, notes, monkeypatch):
    """A file that counts as large, and how often it was read."""
    monkeypatch.setattr(hashes, "NOTED_FROM", 10)
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(1) or digest(*given))
    file = tmp_path / "large.safetensors"
    file.write_bytes(b"many numbers")
    return file, read


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()[:10]


def test_the_hash_is_the_start_of_the_sha256_of_the_file(folder, notes):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    assert model_hash(file) == model_hash(folder) == sha256(file)
    assert not notes.exists()  # of a small file


def test_there_is_no_hash_of_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        model_hash(tmp_path)


def test_a_large_file_is_read_once(large, notes):
    file, read = large
    assert model_hash(file) == model_hash(str(file)) == sha256(file)
    assert len(read) == 1 and list(json.loads(notes.read_text())) == [str(file)]


def test_one_that_was_changed_is_read_again(large):
    file, read = large
    before, at = model_hash(file), file.stat().st_mtime_ns
    file.write_bytes(b"many numbers, and one more")
    os.utime(file, ns=(at, at))
    longer = model_hash(file)
    file.write_bytes(b"many numbers, and two more")
    os.utime(file, ns=(at + 1, at + 1))
    assert len({before, longer, model_hash(file)}) == 3 and model_hash(file) == sha256(file)
    assert len(read) == 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"%s": 7}', '{"%s": "12 0"}', "[" * 100_000, "\0"]
)
def test_damaged_notes_are_replaced(large, notes, text):
    file, read = large
    notes.parent.mkdir(parents=True)
    notes.write_text(text.replace("%s", str(file)))
    assert model_hash(file) == model_hash(file) == sha256(file)
    assert len(read) == 1


def test_where_no_note_can_be_written_the_file_is_read_again(large, notes):
    file, read = large
    notes.parent.parent.write_text("a file where the cache should be")
    assert model_hash(file) == model_hash(file) == sha256(file)
    assert len(read) == 2


def test_the_oldest_notes_are_dropped(large, notes, monkeypatch):
    monkeypatch.setattr(hashes, "NOTES_AT_MOST", 2)
    file, _ = large
    for name in "abc":
        other = file.with_name(name)
        other.write_bytes(file.read_bytes())
        model_hash(other)
    assert [name[-1] for name in json.loads(notes.read_text())] == ["b", "c"]


@pytest.mark.parametrize("cache", [None, ""])
def test_without_a_cache_of_its_own_the_notes_lie_in_the_home_folder(
    tmp_path, monkeypatch, large, cache
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    if cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
    model_hash(large[0])
    assert (tmp_path / ".cache/labml_sd/model_hashes.json").is_file()


def test_the_hash_of_a_weights_file_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "m.safetensors").write_bytes(b"numbers")
    monkeypatch.chdir(tmp_path)
    file = WeightsFile.of("m.safetensors")
    monkeypatch.chdir("/")
    assert file.hash == sha256(tmp_path / "m.safetensors")


def test_of_a_folder_it_is_that_of_the_unet(folder):
    unet = folder / "unet/diffusion_pytorch_model.safetensors"
    assert WeightsFile.of(folder).hash == sha256(unet)


@pytest.mark.parametrize("change", ["written", "replaced", "removed"])
def test_a_file_that_was_changed_before_its_hash_was_read_has_none(tmp_path, change):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"numbers")
    file, about = WeightsFile.of(path), path.stat()
    if change == "replaced":  # by one of the same size and time
        other = tmp_path / "other"
        other.write_bytes(b"NUMBERS")
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        other.rename(path)
    elif change == "removed":
        path.unlink()
    else:
        path.write_bytes(b"numbers and more")
    assert file.hash is None


def test_once_read_the_hash_stays_that_of_the_loaded_file(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"numbers")
    file, loaded = WeightsFile.of(path), sha256(path)
    assert file.hash == loaded
    path.unlink()
    assert file.hash == loaded


def test_a_hash_is_read_in_the_background_once_and_a_copy_reads_its_own(tmp_path, monkeypatch):
    path, calls, go = tmp_path / "m.safetensors", [], Event()
    path.write_bytes(b"numbers")

    def slow(file):
        calls.append(file)
        assert go.wait(60)
        return "0123456789"

    monkeypatch.setattr(hashes, "model_hash", slow)
    file = WeightsFile.of(path)
    assert not file.hashing.done()  # the caller goes on
    go.set()
    assert file.hash == file.hash == "0123456789" and calls == [path]
    assert pickle.loads(pickle.dumps(file)) == copy.deepcopy(file) == file
    assert copy.deepcopy(file).hash == "0123456789" and len(calls) == 2


def test_what_the_background_reading_raises_is_raised_by_the_hash(tmp_path, monkeypatch):
    (tmp_path / "m.safetensors").write_bytes(b"numbers")

    def fail(file):
        raise CheckpointError("cannot be read")

    monkeypatch.setattr(hashes, "model_hash", fail)
    with pytest.raises(CheckpointError, match="cannot be read"):
        _ = WeightsFile.of(tmp_path / "m.safetensors").hash


def test_there_is_no_weights_file_of_nothing(tmp_path):
    assert WeightsFile.of(tmp_path / "none") is None
