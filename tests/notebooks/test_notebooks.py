"""What holds for every notebook. nbval runs them; here they are read."""

import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NAMES = (
    "00_tour 01_noise 02_learning_to_denoise 03_attention 04_autoencoder_blocks 05_posterior "
    "06_autoencoder 07_text 08_spatial_transformer 09_unet 10_ddpm_and_ddim 11_guidance "
    "12_samplers 13_txt2img 14_img2img 15_inpainting 16_training 17_stable_diffusion "
    "18_real_checkpoint 19_playground 20_v_prediction 21_prompts"
).split()
CAPSTONE = "17_stable_diffusion"
BUILD = [*NAMES[1:13], CAPSTONE, "20_v_prediction", "21_prompts"]
FULL_SIZE = ["13_txt2img", "14_img2img", "15_inpainting", CAPSTONE, "18_real_checkpoint"]
INSTALL = """\
SOURCE = ".."  # a checkout of the project, or a wheel that you uploaded
import importlib.util

if importlib.util.find_spec("labml_sd") is None:  # if it is installed, it stays
    %pip install -q "{SOURCE}[notebooks]\""""
MAX_BYTES, MAX_LINES, MEDIAN_LINES, MAX_COLUMNS = 2_000_000, 25, 8, 88
UNCHECKED = {"weights", "widget"}  # why the output of a cell may be left unchecked


def each(names: list[str] = NAMES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def checked(name: str) -> list[Any]:
    """The code cells whose output nbval compares."""
    return [cell for cell in code(name) if "nbval-ignore-output" not in tags(cell)]


def text(name: str) -> str:
    return "\n\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")


def is_comment_or_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def n_lines(cell: Any) -> int:
    return sum(not is_comment_or_blank(line) for line in cell.source.splitlines())


def has_picture(cell: Any) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_the_series_is_complete():
    assert [path.stem for path in PATHS] == NAMES


@each()
def test_the_notebook_is_committed_executed_in_order(name):
    assert [cell.execution_count for cell in code(name)] == list(range(1, len(code(name)) + 1))


@each()
def test_the_notebook_shows_no_error_and_nothing_on_stderr(name):
    kinds = [(o.output_type, o.get("name")) for cell in code(name) for o in cell.outputs]
    assert [kind for kind in kinds if kind[0] == "error" or kind[1] == "stderr"] == []


@each()
def test_only_the_output_of_sliders_and_of_real_weights_is_unchecked(name):
    # A tag that makes nbval look away elsewhere would hide a wrong number.
    for cell in code(name):
        looks_away = {
            tag for tag in tags(cell) if tag.startswith("nbval") or tag == "raises-exception"
        }
        assert looks_away == ({"nbval-ignore-output"} if tags(cell) & UNCHECKED else set())


@each(FULL_SIZE)
def test_cells_for_real_weights_say_what_is_missing(name):
    cells = [cell for cell in code(name) if "weights" in tags(cell)]
    assert cells
    for cell in cells:
        assert "CHECKPOINT" in cell.source
        assert cell.outputs, cell.source


@each()
def test_the_outputs_of_sliders_are_not_kept(name):
    for cell in code(name):
        assert ("interact" in cell.source and "import" not in cell.source) == (
            "widget" in tags(cell)
        )
        assert not ("widget" in tags(cell) and cell.outputs)


@each()
def test_the_notebook_is_small_and_its_metadata_clean(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MAX_BYTES
    notebook = read(name)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata["language_info"] == {"name": "python"}
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags", "mystnb"}


@each()
def test_no_output_names_a_path_or_a_time(name):
    outputs = [output for cell in checked(name) for output in cell.outputs]
    said = [str(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in outputs]
    private = re.compile(r"/(?:home|tmp|root|work|Users|usr|opt)/|[A-Z]:\\|0x[0-9a-f]{6,}")
    seconds = re.compile(r"\d ?(?:ms|s|sec|seconds|min|minutes|it/s)\b")
    assert [line for line in said if private.search(line) or seconds.search(line)] == []


@each()
def test_cells_are_short(name):
    lengths = [n_lines(cell) for cell in code(name)]
    assert max(lengths) <= MAX_LINES
    assert name == CAPSTONE or statistics.median(lengths) <= MEDIAN_LINES


@each()
def test_no_line_of_code_is_cut_off(name):
    blocks = re.findall(r"^```python\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)
    lines = [
        line
        for source in [*blocks, *(c.source for c in code(name))]
        for line in source.split("\n")
    ]
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


@each()
def test_a_section_has_at_most_one_cell_of_assertions(name):
    section, found = "", defaultdict[str, int](int)
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^## (.+)$", cell.source, re.MULTILINE)
            section = headings[-1] if headings else section
        elif re.search(r"^\s*assert ", cell.source, re.MULTILINE):
            found[section] += 1
    assert {heading: n for heading, n in found.items() if n > 1} == {}


@each()
def test_alternative_texts_and_surgery_do_not_stand_in_the_code(name):
    for cell in code(name):
        assert not re.search(r"\balt=|\._modules|\._\w+_hooks", cell.source), cell.source


@each()
def test_the_header_says_what_is_built_what_it_needs_and_how_long_it_takes(name):
    first, install, flow, *_ = read(name).cells
    assert re.match(rf"# {name[:2]} · \S", first.source)
    for label in ("You build" if name in BUILD else "You see", "You need", "Time", "GPU"):
        assert re.search(rf"^- \*\*{label}:\*\* \S", first.source, re.MULTILINE), label
    assert install.source == INSTALL
    assert not install.outputs
    assert "data_flow(" in flow.source
    assert has_picture(flow)


@each()
def test_every_notebook_has_pictures_checks_and_numbers(name):
    cells = checked(name)
    checks = r"^\s*(assert |torch\.testing|same\()"
    assert sum(map(has_picture, cells)) >= 5
    assert sum(bool(re.search(checks, c.source, re.M)) for c in cells) >= 4
    assert sum(any(o.output_type == "stream" for o in c.outputs) for c in cells) >= 4


@each()
def test_every_picture_has_an_alternative_text(name):
    for cell in filter(has_picture, code(name)):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert len(alt) > 20, cell.source


@each()
def test_pictures_are_made_by_the_package_alone(name):
    # No copies of plotting code, and no picture formats whose bytes nbval would compare.
    for cell in code(name):
        assert "matplotlib" not in cell.source
        assert "plt." not in cell.source
        assert {key for o in cell.outputs for key in o.get("data", {})} <= {
            "text/plain",
            "image/png",
        }


@each()
def test_three_exercises_or_more_have_folded_solutions(name):
    exercises = re.findall(r"^\*\*Exercise \d+\.\*\*", text(name), re.MULTILINE)
    folded = r"<details><summary>Solution</summary>\n\n.*?```python\n.+?\n```.*?\n\n</details>"
    solutions = re.findall(folded, text(name), re.DOTALL)
    assert len(exercises) == len(solutions) >= 3
    assert all(
        re.search(r"^\s*(assert |torch\.testing)", solution, re.M) for solution in solutions
    )


@each()
def test_the_text_is_plain_github_markdown(name):
    assert not re.search(r"^:::|\{(eq|ref|doc|math|numref)\}|\\label", text(name), re.MULTILINE)


@each(BUILD)
def test_a_build_notebook_builds_and_compares_with_the_package(name):
    sources = "\n".join(cell.source for cell in code(name))
    assert re.search(r"^(class |def )[Mm]y", sources, re.MULTILINE)
    assert re.search(r"\bsame\(|assert_close|\.equal\(", sources)


@each([name for name in NAMES if name not in BUILD])
def test_an_assembling_notebook_defines_no_network(name):
    assert not re.search(
        r"^class |nn\.Module", "\n".join(cell.source for cell in code(name)), re.MULTILINE
    )


def test_nothing_is_defined_in_two_notebooks():
    defined: dict[str, list[str]] = {}
    for name in NAMES:
        if name == CAPSTONE:  # which puts the parts of the others together
            continue
        for cell in code(name):
            for found in re.findall(r"^(?:class|def) (\w+)", cell.source, re.MULTILINE):
                defined.setdefault(found, []).append(name)
    assert {key: names for key, names in defined.items() if len(names) > 1} == {}


@each()
def test_the_last_cell_leads_on(name):
    last = read(name).cells[-1]
    following = NAMES[(NAMES.index(name) + 1) % len(NAMES)]
    assert last.cell_type == "markdown"
    assert f"]({following}.ipynb)" in last.source


def test_the_readme_names_sections_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- questions -->")[1].split("<!-- end of notebooks -->")[0]
    named = [
        (name, heading)
        for row in table.splitlines()
        for name, heading in re.findall(r"\(notebooks/(\w+)\.ipynb\), \*(.+?)\*", row)
    ]
    assert len(named) >= 12
    assert [pair for pair in named if f"## {pair[1]}\n" not in text(pair[0])] == []
