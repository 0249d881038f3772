import pytest

from labml_sd.checkpoint.sources import locate, open_source
from labml_sd.errors import CheckpointError


def test_tiny_is_the_bundled_folder():
    assert locate("tiny").parts[-3:] == ("labml_sd", "models", "tiny")


def test_what_lies_on_the_disk_goes_before_the_hub(tmp_path, monkeypatch):
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").resolve() == tmp_path / "owner/name"


@pytest.mark.parametrize(
    "source", ["nothing.safetensors", "folder/nothing.ckpt", "/no/such/place", "notiny"]
)
def test_a_missing_file_is_refused_without_asking_the_hub(source):
    with pytest.raises(CheckpointError, match="there is no such file"):
        locate(source)


def test_an_address_is_not_a_source():
    with pytest.raises(CheckpointError, match="is an address; download the file"):
        locate("https://example.org/v1-5.safetensors")


def test_what_may_not_be_read_is_one_line(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("labml_sd.checkpoint.sources.open_folder", refuse)  # root may read all
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)$"):
        open_source(folder)


def test_a_folder_holds_no_averages(folder):
    with pytest.raises(CheckpointError, match="without ema=True"):
        open_source(folder, ema=True)
