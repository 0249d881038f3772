import pytest

from labml_sd.errors import CheckpointError, PromptError
from labml_sd.interrogator.phrase_lists import LISTS, read_phrases


def test_the_bundled_lists_have_a_few_dozen_phrases_each_once():
    lists = read_phrases()
    assert tuple(lists) == LISTS
    for phrases in lists.values():
        assert 36 <= len(phrases) <= 144
        assert len({phrase.lower() for phrase in phrases}) == len(phrases)
        assert all(phrase == " ".join(phrase.split()) for phrase in phrases)
        assert not any("," in phrase for phrase in phrases)
    assert all(phrase.startswith("by ") for phrase in lists["artists"])


def test_a_folder_replaces_the_lists_that_it_has(tmp_path):
    text = "\ufeffa  photo\r\n\r\na drawing\r\na photo\r\n"
    (tmp_path / "mediums.txt").write_bytes(text.encode())
    (tmp_path / "artists.txt").write_text("Rembrandt\nby Titian")
    lists = read_phrases(tmp_path)
    assert lists["mediums"] == ("a photo", "a drawing")
    assert lists["artists"] == ("by Rembrandt", "by Titian")
    assert lists["flavours"] == read_phrases()["flavours"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "holds no phrase"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_file_that_is_no_list_is_refused(tmp_path, content, message):
    (tmp_path / "flavours.txt").write_bytes(content)
    with pytest.raises(PromptError, match=message):
        read_phrases(tmp_path)


def test_a_file_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("labml_sd.interrogator.phrase_lists.MAX_BYTES", 4)
    (tmp_path / "flavours.txt").write_text("a\nb\nc\n")
    with pytest.raises(PromptError, match="longer than 4 bytes"):
        read_phrases(tmp_path)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(PromptError, match=r"put one there: mediums.txt artists.txt"):
        read_phrases(tmp_path)
    with pytest.raises(PromptError, match="holds no list"):
        read_phrases(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="a folder with lists of phrases"):
        read_phrases("")
