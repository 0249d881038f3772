"""`import labml_sd` costs nothing; its names and rooms come in when they are first used."""

import subprocess
import sys

import pytest

import labml_sd


@pytest.mark.parametrize("name", labml_sd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(labml_sd, name) is not None and name in dir(labml_sd)


@pytest.mark.parametrize("room", ["sampler", "image"])
def test_every_room_is_reached_with_a_dot(room):
    code = f"import labml_sd; print(labml_sd.{room}.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"labml_sd.{room}\n"


def test_what_is_not_there_is_said_as_of_any_module():
    with pytest.raises(AttributeError, match="module 'labml_sd' has no attribute 'txt2video'"):
        labml_sd.txt2video  # noqa: B018


@pytest.mark.parametrize("module", ["labml_sd", "labml_sd.cli.start", "labml_sd.errors"])
def test_the_first_moment_of_the_program_is_not_spent_on_pytorch(module):
    code = f"import sys, {module}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
