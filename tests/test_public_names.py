"""`import labml_sd` loads nothing; its names and subpackages are imported when first used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import labml_sd

PACKAGE = Path(labml_sd.__file__).parent
MODULES = {path.stem for path in PACKAGE.glob("[a-z]*.py")}
SUBPACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def printed(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", labml_sd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(labml_sd, name) is not None and name in dir(labml_sd)


def test_every_subpackage_is_an_attribute():
    names = ["settings", "sampler", "acceleration", "images", "pipeline"]
    code = f"import labml_sd; print([getattr(labml_sd, name).__name__ for name in {names}])"
    assert printed(code) == f"{[f'labml_sd.{name}' for name in names]}\n"


def test_the_map_lists_every_part_of_the_package_once():
    listed = re.findall(r"^    (\w+) {2,}\S", labml_sd.__doc__, re.MULTILINE)
    assert sorted(listed) == sorted(MODULES | SUBPACKAGES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'labml_sd' has no attribute 'txt2video'"):
        labml_sd.txt2video  # noqa: B018


@pytest.mark.parametrize(
    "module", ["labml_sd", "labml_sd.cli.start", "labml_sd.cli.main", "labml_sd.errors"]
)
def test_the_program_starts_without_importing_pytorch(module):
    code = f"import sys, {module}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    assert printed(code) == "set()\n"


@pytest.mark.parametrize(
    "arguments", [["txt2img", "--help"], ["prompt", "--help"], ["img2img", "--stepz", "3"]]
)
def test_help_and_wrong_flags_are_answered_without_importing_pytorch(arguments):
    code = (
        "import sys; from labml_sd.cli import main\n"
        f"try: main.main({arguments})\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    assert printed(code).splitlines()[-1] == "False"
