import errno
import os
from pathlib import Path

import pytest
import torch

from labml_sd.errors import CheckpointError
from labml_sd.training.state_files import read_file, run_folder, write_file


def test_what_was_written_is_read_back(tmp_path):
    write_file({"step": 3, "weight": torch.arange(4.0)}, tmp_path / "a.pt")
    state = read_file(tmp_path / "a.pt")
    assert state["step"] == 3 and torch.equal(state["weight"], torch.arange(4.0))
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path, monkeypatch):
    write_file({"step": 1}, tmp_path / "a.pt")
    monkeypatch.setattr(Path, "open", lambda path, mode: open("/dev/full", mode))
    with (
        pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\);"),
        run_folder(tmp_path),
    ):
        write_file({"weights": torch.zeros(10**6)}, tmp_path / "a.pt")
    monkeypatch.undo()
    assert read_file(tmp_path / "a.pt") == {"step": 1}
    assert os.listdir(tmp_path) == ["a.pt"]


def test_other_errors_of_the_writer_stay_what_they_are(tmp_path):
    class Unwritable(dict[str, int]):
        def __reduce__(self):
            raise RuntimeError("no reduction")

    with pytest.raises(RuntimeError, match="no reduction"):
        write_file({"a": Unwritable()}, tmp_path / "a.pt")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_file_in_place_of_the_folder_is_refused(below, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="choose another folder") as caught:
        with run_folder(tmp_path / f"taken{below}"):
            pytest.fail("the work began")
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root may write everywhere
    with pytest.raises(CheckpointError, match=r"cannot be written \(Permission denied\)"):
        with run_folder(tmp_path):
            pytest.fail("the work began")


@pytest.mark.parametrize("content", [b"", b"nonsense", "a list"])
def test_a_file_of_another_kind_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="delete it to start again") as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
