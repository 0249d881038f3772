"""The house's rules, read from the source: who may import whom, and what a file must look like."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import labml_sd

PACKAGE = Path(labml_sd.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = ("text_encoder", "unet", "sampler", "autoencoder")
MAX_LINES = 45  # of a function, its docstring not counted


def room(path: Path) -> str:
    """The folder of a module inside the package, or its own name at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def each(paths: Iterable[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "path", list(paths), ids=lambda path: path.relative_to(PACKAGE).as_posix()
    )


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """What a module imports of the package, anywhere in it: "unet.attention" of labml_sd.unet.attention."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            name.removeprefix("labml_sd.") for name in names if name.startswith("labml_sd.")
        )


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)} - {room(path)}


@each(path for path in MODULES if room(path) in ROOMS)
def test_the_four_rooms_know_the_configuration_and_the_errors_and_not_one_another(path):
    assert imported_rooms(path) <= {"config", "errors"}


@each(PACKAGE / name for name in ("config.py", "errors.py"))
def test_the_configuration_and_the_errors_know_nothing(path):
    assert not imported_rooms(path)


def test_the_model_knows_the_rooms_and_nothing_above_it():
    assert imported_rooms(PACKAGE / "latent_diffusion.py") == {*ROOMS, "config"}


@each(path for path in MODULES if room(path) == "fast")
def test_the_fast_room_knows_the_networks_the_sampler_and_the_model(path):
    networks = {"text_encoder", "unet", "autoencoder"}
    assert imported_rooms(path) <= {*networks, "sampler", "latent_diffusion", "shapes_only"}


def test_only_the_pipelines_and_the_loader_know_the_fast_room():
    importing = {
        room(path): set(imported(path)) for path in MODULES if "fast" in imported_rooms(path)
    }
    assert set(importing) == {"pipeline", "checkpoint", "cli_show"}
    assert {name for name in importing["cli_show"] if name.startswith("fast")} == {
        "fast.attention.which_kernel"
    }
    loading = {
        name for path in MODULES if room(path) == "checkpoint" for name in imported(path)
    }
    assert {name for name in loading if name.startswith("fast")} == {
        "fast.compiled.compile_unet"
    }


def test_nothing_but_the_command_line_imports_the_command_line():
    importing = {
        room(path)
        for path in MODULES
        for name in imported_rooms(path)
        if name.startswith("cli")
    }
    assert {name for name in importing if not name.startswith("cli")} == set()


def test_nothing_in_the_package_imports_the_figures():
    drawn = [path for path in MODULES if "figures" in imported_rooms(path)]
    assert drawn == []


def test_annotations_are_not_postponed():
    # Shapes are checked while the tests run; postponed, they would be strings that nobody
    # checks.
    futures = [
        path
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert futures == []


@each(MODULES)
def test_every_function_is_short(path):
    functions = [
        n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {f.name: n_lines(f) for f in functions if n_lines(f) > MAX_LINES} == {}


def n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = last_line(function) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= last_line(docstring) - docstring.lineno + 1
    return lines


def last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


@each(path for path in MODULES if path.name != "__init__.py" and room(path) != "errors")
def test_the_header_names_tests_that_exist(path):
    header = ast.get_docstring(tree(path)) or ""
    see = re.search(r"^Tests +(.+(?:\n {2,}.+)*)", header, re.MULTILINE)
    assert see, "no line `Tests`"
    named = re.findall(r"tests/[\w/.]*", see[1])
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_importing_the_package_brings_no_library_that_is_needed_only_later():
    heavy = {"transformers", "huggingface_hub", "diffusers", "matplotlib", "accelerate"}
    code = f"import sys, labml_sd; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
