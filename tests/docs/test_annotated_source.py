import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "labml_sd").rglob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"docs_{name}", ROOT / "docs" / "_ext" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


rows, names = load("rows"), load("names")


def placed(row) -> list[int]:
    noted = [line for note in row.notes for line in range(note.first, note.last + 1)]
    return noted + [first + index for first, lines in row.code for index in range(len(lines))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_line_of_a_module_is_in_one_place_and_rows_keep_the_order(path):
    source = path.read_text("utf-8")
    split = rows.split(source)
    spans = [line for row in split for line in range(row.first, row.last + 1)]
    assert spans == list(range(1, len(source.splitlines()) + 1))
    for row in split:
        assert sorted(placed(row)) == list(range(row.first, row.last + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_line_numbers_are_the_files(path):
    source = path.read_text("utf-8").splitlines()
    for row in rows.split("\n".join(source)):
        for first, lines in row.code:
            assert lines == source[first - 1 : first - 1 + len(lines)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_code_is_taken_for_a_note(path):
    source = path.read_text("utf-8").splitlines()
    for row in rows.split("\n".join(source)):
        for note in row.notes:
            first, last = source[note.first - 1].strip(), source[note.last - 1].strip()
            assert first.startswith(("#", '"""', 'r"""'))
            assert last.startswith("#") or last.endswith('"""')


EXAMPLE = '''"""What it is.

Room       here, called by there.py
Paper      Somebody 2020,
           eq. 3
See        tests/test_it.py
"""

import math

# How many.
N = 3


@property
def area(r):
    r"""Of a circle.

    $$ A = \\pi r^2 $$
    """
    # The halves are equal.
    half = math.pi * r**2 / 2  # of it
    return 2 * half


after = area(N)
'''


def test_whole_line_comments_go_left_and_the_others_stay():
    texts = [note.text for row in rows.split(EXAMPLE) for note in row.notes]
    assert texts[1:] == [
        "How many.",
        "Of a circle.\n\n$$ A = \\pi r^2 $$",
        "The halves are equal.",
    ]


def test_a_signature_stands_beside_its_docstring():
    (row,) = [row for row in rows.split(EXAMPLE) if row.names == ["area"]]
    assert row.code == [(15, ["@property", "def area(r):"])]


def test_what_follows_a_function_is_no_part_of_its_row():
    last = rows.split(EXAMPLE)[-1]
    assert (last.first, last.notes, last.names) == (26, [], [])


def test_a_comment_above_a_definition_shares_its_row():
    (row,) = rows.split('# Why.\n\n\ndef f():\n    """What."""\n    return 1\n')
    assert [note.text for note in row.notes] == ["Why.", "What."]


def test_a_docstring_that_shares_its_line_stays_code():
    (row,) = rows.split('class Wrong(Exception): """No value."""\n')
    assert row.notes == []


def test_the_table_of_a_header_is_parted_from_its_prose():
    prose, table = rows.header(rows.split(EXAMPLE)[0].notes[0].text)
    assert prose == "What it is."
    assert table == {
        "Room": "here, called by there.py",
        "Paper": "Somebody 2020, eq. 3",
        "See": "tests/test_it.py",
    }


def test_maths_and_code_arrive_unescaped():
    text = "$$ \\sum_{i<j} a*b $$ and $x_{t<T}$ and `<key>` and ```a*b```"
    assert rows.markdown(text) == text


def test_a_product_and_a_placeholder_are_no_markup():
    assert rows.markdown("f*h f*w, 2**32, <key>, *so*") == r"f\*h f\*w, 2\*\*32, \<key>, *so*"


def test_an_arrow_is_one_character_and_a_paper_a_link():
    text = "x -> y <-> z --text--> w, arXiv:1706.03762"
    assert (
        rows.markdown(text)
        == "x → y ↔ z --text--> w, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)"
    )


@pytest.fixture(scope="module")
def package():
    return names.Package(ROOT / "labml_sd")


def test_a_name_is_followed_to_the_file_that_defines_it(package):
    assert package.home("labml_sd.unet.UNet.forward") == ("labml_sd.unet.unet", "UNet.forward")
    assert package.home("labml_sd.unet") == ("labml_sd.unet", "")


def test_a_name_is_public_where_a_package_takes_it_up(package):
    assert package.public_names("labml_sd.unet.unet", "UNet") == [
        "labml_sd.unet.unet.UNet",
        "labml_sd.unet.UNet",
    ]


def test_the_attention_notebook_uses_the_attention_module(package):
    assert "06_attention" in package.used_by(ROOT / "notebooks")["labml_sd.unet.attention"]
