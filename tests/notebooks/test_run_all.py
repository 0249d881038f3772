"""A reader runs all cells: a plain kernel in another folder, no GPU, no network, no nbval."""

import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OFFLINE = """\
import socket

connect = socket.socket.connect


def local_only(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        raise OSError(101, "Network is unreachable")
    return connect(self, address)


socket.socket.connect = local_only
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_run_all_ends_without_an_error(path, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("LABML_SD_CHECKPOINT", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(path, as_version=4)
    runner = runpy.run_path(str(ROOT / ".ci" / "notebooks"))
    runner["client_for"](notebook, tmp_path / "work", timeout=600).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    assert list((tmp_path / "work").iterdir()) == []  # and nothing is left behind
