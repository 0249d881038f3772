"""No pickle runs anything. The corpus is proven: Python's own reader does run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import GADGETS

CHILD = Path(__file__).with_name("hostile_child.py")


def run(reader: str, folder: Path) -> dict:
    done = subprocess.run(
        [sys.executable, CHILD, reader, folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> dict:
    return run("ours", tmp_path_factory.mktemp("ours"))


def test_there_are_over_a_hundred_kinds_and_no_two_are_the_same():
    assert len(set(GADGETS)) == len(GADGETS) > 100


@pytest.mark.slow
def test_the_canaries_work_for_python_runs_the_gadgets(tmp_path):
    found = run("python", tmp_path)
    assert [name for name, said in found.items() if said == "read"] == []  # or absent here
    assert sum(said == "fired" for said in found.values()) >= 80


def test_none_touches_a_file_the_environment_or_a_socket_here_or_with_torch_alone(ours):
    assert ours["touched"] == []


def test_reading_them_imports_compiles_opens_and_starts_nothing(ours):
    assert ours["n_files"] > 1000
    assert ours["heard"] == []


def test_all_end_in_one_typed_error_of_one_line(ours):
    assert list(ours["outcomes"]) == ["refused"]
