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
def test_every_line_of_a_module_is_in_one_row_and_rows_keep_the_order(path):
    source = path.read_text("utf-8")
    split = rows.split(source)
    spans = [line for row in split for line in range(row.first, row.last + 1)]
    assert spans == list(range(1, len(source.splitlines()) + 1))
    for row in split:
        assert sorted(placed(row)) == list(range(row.first, row.last + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_line_numbers_are_those_of_the_file(path):
    source = path.read_text("utf-8").splitlines()
    for row in rows.split("\n".join(source)):
        for first, lines in row.code:
            assert lines == source[first - 1 : first - 1 + len(lines)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_code_becomes_a_note(path):
    source = path.read_text("utf-8").splitlines()
    for row in rows.split("\n".join(source)):
        for note in row.notes:
            first, last = source[note.first - 1].strip(), source[note.last - 1].strip()
            assert first.startswith(("#", '"""', 'r"""'))
            assert last.startswith("#") or last.endswith('"""')


EXAMPLE = '''"""What it is.

Maps       r -> area
Paper      Somebody 2020,
           eq. 3
Tests      tests/test_it.py
"""

# ruff: noqa: F401
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


def test_whole_line_comments_are_notes_and_the_others_stay_code():
    texts = [note.text for row in rows.split(EXAMPLE) for note in row.notes]
    assert texts[1:] == [
        "How many.",
        "Of a circle.\n\n$$ A = \\pi r^2 $$",
        "The halves are equal.",
    ]


def test_each_comment_in_a_function_is_beside_the_lines_below_it():
    source = (
        "def f(x):\n    # [b n]: twice\n    x = 2 * x\n\n    # the mean\n    return x.mean()\n"
    )
    assert [(row.notes[0].text, row.code) for row in rows.split(source)[1:]] == [
        ("[b n]: twice", [(3, ["    x = 2 * x", ""])]),
        ("the mean", [(6, ["    return x.mean()"])]),
    ]


def test_directives_for_tools_are_code():
    (note,) = [
        note for row in rows.split("# ruff: noqa\n# Why.\nx = 1\n") for note in row.notes
    ]
    assert note.text == "Why."


def test_a_signature_is_beside_its_docstring():
    (row,) = [row for row in rows.split(EXAMPLE) if row.names == ["area"]]
    assert row.code == [(16, ["@property", "def area(r):"])]


def test_code_after_a_function_is_not_part_of_its_row():
    last = rows.split(EXAMPLE)[-1]
    assert (last.first, last.notes, last.names) == (27, [], [])


def test_a_comment_above_a_definition_shares_its_row():
    (row,) = rows.split('# Why.\n\n\ndef f():\n    """What."""\n    return 1\n')
    assert [note.text for note in row.notes] == ["Why.", "What."]


def test_a_docstring_that_shares_its_line_stays_code():
    (row,) = rows.split('class Wrong(Exception): """No value."""\n')
    assert row.notes == []


def test_the_table_of_a_header_is_separated_from_its_prose():
    prose, table = rows.header(rows.split(EXAMPLE)[0].notes[0].text)
    assert prose == "What it is."
    assert table == {
        "Maps": "r -> area",
        "Paper": "Somebody 2020, eq. 3",
        "Tests": "tests/test_it.py",
    }


def test_maths_and_code_are_not_escaped():
    text = "$$ \\sum_{i<j} a*b $$ and $x_{t<T}$ and `<key>` and ```a*b```"
    assert rows.markdown(text) == text


def test_the_parts_of_an_equation_are_one_below_the_other():
    assert rows.stacked(r"$$ a = b, \qquad b = c, \quad c = d $$") == (
        r"$$ \begin{gathered} a = b, \\ b = c, \\ c = d \end{gathered} $$"
    )
    assert rows.stacked(r"$$ a = b $$ and $a \qquad b$") == r"$$ a = b $$ and $a \qquad b$"


def test_a_product_and_a_placeholder_are_not_markup():
    assert rows.markdown("f*h f*w, 2**32, <key>, *so*") == r"f\*h f\*w, 2\*\*32, \<key>, *so*"


@pytest.mark.parametrize("shape", ["[b c h w]", "[b (h w) c]", "[b c' h/2 w/2]", "[b 3 8h 8w]"])
def test_a_shape_becomes_code(shape):
    assert rows.markdown(f"{shape}: one for each") == f"`{shape}`: one for each"


def test_one_axis_is_a_shape_before_a_colon_and_not_a_link_definition():
    assert rows.markdown("[b]: times") == "`[b]`: times"


@pytest.mark.parametrize("text", ["[-1, 1]", "[0, 1]", "[a b](c)", "[the paper]", "x[i]"])
def test_other_brackets_are_not_shapes(text):
    assert rows.markdown(text) == text


def test_an_arrow_becomes_one_character_and_a_paper_a_link():
    text = "x -> y <-> z --text--> w, arXiv:1706.03762"
    assert (
        rows.markdown(text)
        == "x → y ↔ z --text--> w, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)"
    )


@pytest.fixture(scope="module")
def package():
    return names.Package(ROOT / "labml_sd")


def test_a_name_leads_to_the_file_that_defines_it(package):
    assert package.home("labml_sd.unet.UNet.forward") == ("labml_sd.unet.unet", "UNet.forward")
    assert package.home("labml_sd.unet") == ("labml_sd.unet", "")


def test_a_name_is_public_in_the_package_that_imports_it(package):
    assert package.public_names("labml_sd.unet.unet", "UNet") == [
        "labml_sd.unet.unet.UNet",
        "labml_sd.unet.UNet",
    ]


def test_the_attention_notebook_uses_the_attention_module(package):
    assert "03_attention" in package.used_by(ROOT / "notebooks")["labml_sd.unet.attention"]
