"""What holds for every notebook. nbval runs them; here they are read."""

import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NAMES = (
    "00_tour 01_noise 02_posterior 03_autoencoder_blocks 04_autoencoder 05_text 06_attention "
    "07_spatial_transformer 08_unet 09_guidance 10_ddpm_and_ddim 11_samplers 12_txt2img "
    "13_img2img 14_inpainting 15_training 16_real_checkpoint"
).split()
BUILD = NAMES[1:12]
INSTALL = """\
SOURCE = ".."  # a checkout of the project, or a wheel that you uploaded
import importlib.util

if importlib.util.find_spec("labml_sd") is None:  # an installed package is left as it is
    %pip install -q "{SOURCE}[notebooks]\""""
MAX_BYTES, MAX_LINES, MEDIAN_LINES = 1_500_000, 25, 8
SKIPPED = {"weights", "gpu"}  # why a cell may be tagged nbval-skip


def each(names: list[str] = NAMES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def run(name: str) -> list[Any]:
    """The code cells that nbval runs."""
    return [cell for cell in code(name) if "nbval-skip" not in tags(cell)]


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
    assert [cell.execution_count for cell in run(name)] == list(range(1, len(run(name)) + 1))


@each()
def test_the_notebook_shows_no_error_and_nothing_on_stderr(name):
    kinds = [(o.output_type, o.get("name")) for cell in code(name) for o in cell.outputs]
    assert [kind for kind in kinds if kind[0] == "error" or kind[1] == "stderr"] == []


@each()
def test_only_cells_for_real_weights_or_a_gpu_are_left_out(name):
    # A tag that makes nbval look away elsewhere would hide a wrong number.
    for cell in code(name):
        looks_away = {
            tag for tag in tags(cell) if tag.startswith("nbval") or tag == "raises-exception"
        }
        assert looks_away <= {"nbval-skip"}
        assert not looks_away or tags(cell) & SKIPPED


@each()
def test_the_notebook_is_small_and_its_metadata_clean(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MAX_BYTES
    notebook = read(name)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata["language_info"] == {"name": "python"}
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags", "mystnb"}


@each()
def test_no_output_names_a_path_or_a_time(name):
    outputs = [output for cell in code(name) for output in cell.outputs]
    said = [str(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in outputs]
    private = re.compile(r"/(?:home|tmp|root|work|Users|usr|opt)/|[A-Z]:\\|0x[0-9a-f]{6,}")
    seconds = re.compile(r"\d ?(?:ms|s|sec|seconds|min|minutes|it/s)\b")
    assert [line for line in said if private.search(line) or seconds.search(line)] == []


@each()
def test_cells_are_short(name):
    lengths = [n_lines(cell) for cell in code(name)]
    assert max(lengths) <= MAX_LINES
    assert statistics.median(lengths) <= MEDIAN_LINES


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
    cells = run(name)
    assert sum(map(has_picture, cells)) >= 5
    assert (
        sum(bool(re.search(r"^\s*(assert |torch\.testing)", c.source, re.M)) for c in cells)
        >= 4
    )
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
    sources = "\n".join(cell.source for cell in run(name))
    assert re.search(r"^(class My|def my_)", sources, re.MULTILINE)
    assert re.search(r"assert_close|torch\.equal|\.equal\(", sources)


@each([name for name in NAMES if name not in BUILD])
def test_an_assembling_notebook_defines_no_network(name):
    assert not re.search(
        r"^class |nn\.Module", "\n".join(cell.source for cell in code(name)), re.MULTILINE
    )


def test_nothing_is_defined_in_two_notebooks():
    defined: dict[str, list[str]] = {}
    for name in NAMES:
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
