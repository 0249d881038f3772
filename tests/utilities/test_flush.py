import os

import pytest

from labml_sd.utilities.flush import flush_file, flush_folder, flush_tree


@pytest.fixture
def flushed(monkeypatch):
    """The names that were flushed, in order."""
    seen = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: seen.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    return seen


def test_everything_in_a_folder_is_flushed_and_links_are_not_followed(tmp_path, flushed):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "a/link").symlink_to("/nowhere")
    flush_tree(tmp_path / "a")
    assert sorted(flushed) == [str(tmp_path / name) for name in ("a", "a/b", "a/b/file")]


def test_a_file_that_the_disk_cannot_take_is_an_error(tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="No space"):
        flush_file(tmp_path / "a")
    flush_folder(tmp_path)  # the files themselves are safe: not every system can flush a folder


def test_no_file_stays_open(tmp_path, flushed):
    (tmp_path / "a").touch()
    before = os.listdir("/proc/self/fd")
    flush_file(tmp_path / "a")
    flush_folder(tmp_path)
    assert os.listdir("/proc/self/fd") == before
