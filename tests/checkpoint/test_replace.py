import pytest

from labml_sd.checkpoint.replace import whole_file, whole_folder


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
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ({"x": "old"} if there else {})


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path, error):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a").write_text("old")
    with pytest.raises(error), whole_folder(tmp_path / "x") as new:
        (new / "a").write_text("half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x/a").read_text() == "old"


def test_an_error_while_the_folders_change_places_brings_the_old_one_back(tmp_path, monkeypatch):
    import os

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
        whole_folder(tmp_path / "x") as new,
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
    with whole_folder(tmp_path / "x") as new:
        (new / "a").mkdir()
    assert sorted(str(p.relative_to(tmp_path / "x")) for p in tmp_path.rglob("x/**/*")) == [
        "CARD.md",
        "a",
        "other",
        "other/file",
    ]
