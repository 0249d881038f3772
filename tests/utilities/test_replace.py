import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from labml_sd.utilities.replace import (
    flush_file,
    flush_folder,
    flush_tree,
    whole_file,
    whole_folder,
)


def test_a_file_takes_its_place_with_the_users_usual_rights(tmp_path):
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "x") as new:
        new.write_text("new")
        new.chmod(0o600)
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_text() == "new"
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path, error, there):
    if there:
        (tmp_path / "x").write_text("old")
    with pytest.raises(error), whole_file(tmp_path / "x") as new:
        new.write_text("half")
        raise error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == (
        {"x": "old"} if there else {}
    )


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path, error):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a").write_text("old")
    with pytest.raises(error), whole_folder(tmp_path / "x", "a") as new:
        (new / "a").write_text("half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x/a").read_text() == "old"


def test_an_error_while_the_folders_change_places_brings_the_old_one_back(
    tmp_path, monkeypatch
):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a").write_text("old")
    rename = os.replace
    calls = []

    def fails_the_second_time(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    with (
        pytest.raises(KeyboardInterrupt),
        monkeypatch.context() as patch,
        whole_folder(tmp_path / "x", "a") as new,
    ):
        patch.setattr(os, "replace", fails_the_second_time)
        (new / "a").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x/a").read_text() == "old"


def test_a_folder_keeps_what_stands_beside_the_written(tmp_path):
    (tmp_path / "x/other").mkdir(parents=True)
    (tmp_path / "x/other/file").write_text("kept")
    (tmp_path / "x/CARD.md").write_text("kept")
    (tmp_path / "x/a").mkdir()
    (tmp_path / "x/a/stale").touch()
    with whole_folder(tmp_path / "x", "a") as new:
        (new / "a").mkdir()
    assert sorted(str(p.relative_to(tmp_path / "x")) for p in tmp_path.rglob("x/**/*")) == [
        "CARD.md",
        "a",
        "other",
        "other/file",
    ]


def test_the_longest_possible_name_gets_a_temporary_name_too(tmp_path):
    for name in ("x" * 255, "雪" * 85):
        with whole_file(tmp_path / name) as new:
            new.write_text("new")
        assert (tmp_path / name).read_text() == "new"


def test_nothing_takes_its_place_before_the_disk_holds_it(tmp_path, monkeypatch):
    done = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flush"), flush(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    with whole_file(tmp_path / "x") as new:
        new.write_text("new")
    assert done == ["flush", "replace", "flush"]  # the file, and after it its name
    done.clear()
    with whole_folder(tmp_path / "y", "a") as new:
        (new / "a").write_text("new")
    assert done == ["flush", "flush", "replace", "flush"]
    done.clear()
    with whole_folder(tmp_path / "y", "a") as new:
        (new / "a").write_text("newer")
    assert done == ["flush", "flush", "replace", "replace", "flush"]  # out, and in


@pytest.mark.parametrize("place", [whole_file, partial(whole_folder, marker="a")])
def test_a_disk_that_cannot_take_it_leaves_the_old_one_and_nothing_else(
    tmp_path, monkeypatch, place
):
    def full(handle):
        raise OSError(28, "No space left on device")

    with place(tmp_path / "x") as new:
        (new / "a" if new.is_dir() else new).write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), place(tmp_path / "x") as new:
        (new / "a" if new.is_dir() else new).write_text("half")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert next(path for path in tmp_path.rglob("*") if path.is_file()).read_text() == "old"


def test_a_disk_that_fills_up_while_writing_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "x").write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="File too large"), whole_file(tmp_path / "x") as new:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            new.write_bytes(bytes(2000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "old"}


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from labml_sd.utilities.replace import whole_file, whole_folder

place = Path(sys.argv[1])
wait = random.Random(0)
for _ in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for i in range(10**6):
            with whole_file(place / "file") as new:
                new.write_bytes(bytes([i % 256]) * 300_000)
            with whole_folder(place / "folder", "c") as new:
                for name in "abc":
                    (new / name).write_bytes(bytes([i % 256]) * 100_000)
            os.write(writer, b"x")
    os.read(reader, 1)  # both are there
    time.sleep(wait.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader), os.close(writer)
    content = (place / "file").read_bytes()
    assert len(content) == 300_000 and len(set(content)) == 1, "half a file"
    folder, files = place / "folder", {}
    if not (folder / "c").exists():  # killed between the steps: the old entries are there
        old = max(folder.glob(".*.old"), key=os.path.getmtime)
        files = {path.name: path for path in old.iterdir()}
    contents = [files.get(name, folder / name).read_bytes() for name in "abc"]
    assert all(len(content) == 100_000 for content in contents), "half a folder"
    assert len(set(b"".join(contents))) == 1, "halves of two folders"
"""


def test_after_twenty_kills_there_is_a_whole_file_and_a_whole_folder(tmp_path):
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=where, check=True, timeout=300)
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} <= {
        "file",
        "folder",
    }


def test_an_existing_file_keeps_its_mode(tmp_path):
    (tmp_path / "x").touch(mode=0o600)
    with whole_file(tmp_path / "x") as new:
        new.write_text("new")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_an_existing_folder_is_the_same_folder_with_the_same_mode(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir(mode=0o700)
    before = (tmp_path / "x").stat()
    monkeypatch.chdir(tmp_path / "x")
    with whole_folder(Path.cwd(), "a") as new:
        (new / "a").write_text("new")
    after = os.stat(".")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert [path.name for path in Path.cwd().iterdir()] == ["a"]


def test_the_marker_leaves_first_and_comes_last(tmp_path, monkeypatch):
    def write(text):
        with whole_folder(tmp_path / "x", "b") as new:
            for name in "abc":
                (new / name).write_text(text)

    moved = []
    replace = os.replace
    write("old")
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(Path(a).name), replace(a, b)))
    write("new")
    assert sorted(moved) == ["a", "a", "b", "b", "c", "c"]
    assert moved[0] == moved[-1] == "b"


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
