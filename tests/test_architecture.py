"""Who may import whom, and what a file must look like. Read from the source: nothing is run."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import labml_sd

PACKAGE = Path(labml_sd.__file__).parent
ROOT = PACKAGE.parent
PATHS = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 45  # of a function, its docstring not counted
MAX_COLUMNS = 96

NETWORKS = "text_encoder unet autoencoder"
# Each part of the package, from the bottom to the top, and the parts above it in this list that
# it may import.
PARTS = {
    "errors": "",
    "config": "errors",
    "utilities": "errors",
    "text_encoder": "config errors",
    "unet": "config errors",
    "autoencoder": "config errors",
    "sampler": "config errors utilities",
    "settings": "errors utilities text_encoder sampler",
    "adapters": "config errors text_encoder unet",
    "latent_diffusion": f"config {NETWORKS} sampler",
    "acceleration": f"config utilities {NETWORKS} latent_diffusion",
    "offload": "utilities text_encoder unet latent_diffusion acceleration",
    "images": "errors utilities",
    "checkpoint": f"config errors utilities {NETWORKS} adapters latent_diffusion acceleration"
    " offload images",
    "pipeline": f"config errors utilities {NETWORKS} sampler settings adapters"
    " latent_diffusion acceleration offload images checkpoint",
    "tiny": "config",
    "prompt_tools": "config errors utilities text_encoder checkpoint",
    "interrogator": "config errors utilities text_encoder images checkpoint tiny",
    "training": f"config errors utilities {NETWORKS} sampler adapters latent_diffusion images"
    " pipeline tiny interrogator",
    "evaluation": "config errors utilities text_encoder sampler latent_diffusion images"
    " checkpoint pipeline tiny training",
    "figures": "sampler images training",
    "cli": "config errors utilities prompt_tools unet adapters sampler settings"
    " latent_diffusion acceleration images checkpoint pipeline tiny interrogator training"
    " evaluation",
    "__main__": "cli",
}
FOUR = {*NETWORKS.split(), "sampler"}


def module_name(path: Path) -> str:
    """ "unet.attention" of labml_sd/unet/attention.py, "unet" of its __init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PATHS}
HEADERS = {
    module_name(path): ast.get_docstring(TREES[module_name(path)]) or ""
    for path in PATHS
    if path.name not in ("__init__.py", "__main__.py", "errors.py")
}


def imported(module: str) -> Iterator[str]:
    """The modules of this package that one imports, anywhere in it, functions included.

    Not the package's own `__init__` (""): it imports a public name only when it is first used.
    """
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("labml_sd."):
                name = name.removeprefix("labml_sd.")
                while name not in TREES:  # a class or a function
                    name = name.rpartition(".")[0]
                if name:
                    yield name


IMPORTS = {module: set(imported(module)) for module in TREES if module}


def part(module: str) -> str:
    return module.split(".")[0]


def parts_that_import(name: str) -> set[str]:
    """All parts of the package with a module that imports this part."""
    return {part(m) for m, found in IMPORTS.items() if name in map(part, found)} - {name}


def test_every_part_has_its_place():
    assert {part(module) for module in IMPORTS} <= set(PARTS)


def test_parts_import_only_those_that_stand_above_them_in_the_list():
    places = list(PARTS)
    for name, allowed in PARTS.items():
        assert set(allowed.split()) <= set(places[: places.index(name)])


@pytest.mark.parametrize("name", PARTS)
def test_a_part_imports_only_what_it_may(name):
    found = {part(other) for m in IMPORTS if part(m) == name for other in IMPORTS[m]}
    assert found - {name} <= set(PARTS[name].split())


def test_the_networks_and_the_sampler_never_import_one_another():
    for name in FOUR:
        assert parts_that_import(name).isdisjoint(FOUR)


def test_only_the_latent_diffusion_model_holds_all_four():
    assert {part(name) for name in IMPORTS["latent_diffusion"]} == FOUR | {"config"}


def test_nothing_imports_the_command_line_or_the_figures():
    assert parts_that_import("cli") <= {"__main__"}
    assert parts_that_import("figures") == set()


def test_the_command_line_imports_training_and_evaluation_in_three_files_only():
    learning = {"training", "evaluation", "tiny"}
    found = {m for m in IMPORTS if part(m) == "cli" and learning & set(map(part, IMPORTS[m]))}
    assert found <= {"cli.train", "cli.train_embedding", "cli.evaluate"}


def test_no_module_imports_itself_through_others():
    TopologicalSorter(IMPORTS).prepare()  # a CycleError names the modules of the cycle


def test_annotations_are_not_postponed():
    # The tests check every shape; a postponed annotation is a string that nothing checks.
    futures = [
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert futures == []


def test_warnings_are_not_caught():
    # catch_warnings changes the filters of all threads.
    found = [m for m, tree in TREES.items() if "catch_warnings" in names_in(tree)]
    assert found == []


def names_in(tree: ast.Module) -> set[str]:
    return {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
    }


def test_every_function_is_short():
    long = {
        f"{module}.{node.name}": n_lines(node)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if n_lines(node) > MAX_LINES
    }
    assert long == {}


def n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = last_line(function) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= last_line(docstring) - docstring.lineno + 1
    return lines


def last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def test_every_line_fits_on_the_page():
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PATHS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > MAX_COLUMNS
    ]
    assert long == []


def test_every_header_says_what_the_file_maps_to_what():
    assert [m for m, header in HEADERS.items() if not field("Maps", header)] == []


def test_every_header_names_tests_that_exist():
    for module, header in HEADERS.items():
        named = re.findall(r"tests/[\w/.]*", field("Tests", header))
        assert named, f"{module} names no test"
        missing = [name for name in named if not (ROOT / name).exists()]
        assert missing == [], f"{module} names {missing}"


def test_no_header_names_callers():
    # Such a line goes stale when somebody else calls.
    callers = re.compile(r"^Room |\b(called|used|imported|run) by\b|\bRoom\b", re.MULTILINE)
    assert [m for m, header in HEADERS.items() if callers.search(header)] == []


def field(name: str, header: str) -> str:
    """The text of a line `Name  ...` of a header, with the lines that go on below it."""
    found = re.search(rf"^{name} +(.+(?:\n {{2,}}.+)*)", header, re.MULTILINE)
    return found[1] if found else ""


def test_importing_the_package_brings_no_library_that_is_needed_only_later():
    heavy = {"transformers", "huggingface_hub", "diffusers", "matplotlib", "accelerate"}
    code = f"import sys, labml_sd; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
