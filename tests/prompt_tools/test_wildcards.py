"""Wildcards: a folder of text files, cycles, and what is not there."""

import inspect
import os

import pytest

from labml_sd.errors import PromptError
from labml_sd.prompt_tools import prompt_variants
from labml_sd.prompt_tools.wildcards import Wildcards


@pytest.fixture
def folder(tmp_path):
    """Writes files, by name, and returns their folder."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
        return tmp_path

    return write


def every(prompt, where):
    return prompt_variants(prompt, wildcards=where, combinatorial=True)


def test_an_entry_a_line_without_comments_and_empty_lines(folder):
    where = folder(colour="\ufeff# colours\r\nred\r\n\r\n  dark blue  \r\n #no\nc# minor")
    assert every("a __colour__ house", where) == [
        "a red house",
        "a dark blue house",
        "a c# minor house",
    ]


def test_files_in_folders_and_several_files_by_a_star(folder):
    where = folder(toys__car="car", toys__boat="boat", tree="tree")
    assert Wildcards(where).names == ["toys/boat", "toys/car", "tree"]
    assert every("__toys/car__", where) == ["car"]
    assert every("__toys/*__", where) == ["boat", "car"]
    assert every("__t*__", where) == ["boat", "car", "tree"]


def test_entries_hold_variants_weights_and_other_wildcards(folder):
    where = folder(a="x\n__b__\n0::never", b="{1|2}\n3|4")
    assert every("__a__", where) == ["x", "1", "2", "3|4"]


def test_two_of_the_entries_are_different(folder):
    where = folder(a="x\ny\nz")
    assert sorted(every("{2$$-$$__a__}", where)) == ["x-y", "x-z", "y-x", "y-z", "z-x", "z-y"]
    drawn = prompt_variants("{2$$__a__}", 50, wildcards=where)
    assert all(len(set(text.split(", "))) == 2 for text in drawn)


def test_a_wildcard_that_is_not_there_lists_those_that_are(folder):
    where = folder(colour="red", toys__car="car")
    with pytest.raises(PromptError, match=r"no wildcard 'color' .*there are colour, toys/car$"):
        every("__color__", where)
    with pytest.raises(PromptError, match=r"no wildcard 'x\*'"):
        every("__x*__", where)
    many = folder(**{f"n{i:02}": "x" for i in range(30)})
    with pytest.raises(PromptError, match=r"and 12 more$"):
        every("__n__", many)


def test_an_empty_folder_and_no_folder(tmp_path):
    with pytest.raises(PromptError, match=r"it has no \.txt file"):
        every("__a__", tmp_path)
    with pytest.raises(PromptError, match="is not a folder"):
        every("a", tmp_path / "missing")
    for wrong in (3, b"x"):
        with pytest.raises(PromptError, match="give a folder of text files"):
            inspect.unwrap(Wildcards.__init__)(object.__new__(Wildcards), wrong)
    with pytest.raises(PromptError, match=r"give the folder with a\.txt"):
        every("__a__", None)


def test_no_file_outside_the_folder_is_read(folder, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    folder(secret="x")
    assert every("__../secret__", inner) == ["__../secret__"]
    with pytest.raises(PromptError, match=r"no wildcard 'a/\.\./\.\./secret'"):
        every("__a/../../secret__", inner)


def test_a_cycle_is_an_error_that_shows_it(folder):
    where = folder(a="x\n__b__", b="{y|__c__}", c="__b__")
    with pytest.raises(PromptError, match="one another: b -> c -> b;"):
        every("__a__", where)
    with pytest.raises(PromptError, match=r"one another: s -> s;"):
        every("__s__", folder(s="x\n__s__"))


def test_a_file_that_cannot_be_used(folder, tmp_path):
    where = folder(empty="# nothing\n\n", fine="x")
    (tmp_path / "latin.txt").write_bytes(b"gr\xfcn")
    with pytest.raises(PromptError, match=r"empty\.txt: has no entries"):
        every("__empty__", where)
    with pytest.raises(PromptError, match=r"latin\.txt: is not UTF-8"):
        every("__latin__", where)
    assert every("__fine__", where) == ["x"]  # the others are not read


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(folder):
    where = folder(a="x")
    (where / "a.txt").chmod(0)
    with pytest.raises(PromptError, match="cannot be read"):
        every("__a__", where)


def test_wildcards_that_multiply_are_refused_at_once(folder):
    files = {f"w{i}": f"__w{i + 1}__ __w{i + 1}__" for i in range(40)}
    with pytest.raises(PromptError, match="could become too long"):
        prompt_variants("__w0__", wildcards=folder(**files, w40="x"))
    empty = {f"w{i}": f"{{|}}__w{i + 1}__,__w{i + 1}__" for i in range(40)}
    with pytest.raises(PromptError, match="could become too long"):
        prompt_variants("__w0__", wildcards=folder(**empty, w40="{|}"))


def test_a_long_chain_of_wildcards_is_refused(folder):
    files = {f"w{i}": f"__w{i + 1}__" for i in range(3000)}
    with pytest.raises(PromptError, match="nested more than 64 deep"):
        prompt_variants("__w0__", wildcards=folder(**files, w3000="x"))


def test_depth_counts_braces_and_wildcards_together(folder):
    deep = "{" * 40 + "__b__" + "}" * 40
    where = folder(a=deep, b="{" * 40 + "x" + "}" * 40)
    for prompt in ("__a__", "__b__ __a__"):  # also where b is known already
        with pytest.raises(PromptError, match="nested more than 64 deep"):
            prompt_variants(prompt, wildcards=where)
