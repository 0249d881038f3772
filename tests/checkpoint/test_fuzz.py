"""A few hundred damaged files in the suite; `python tests/checkpoint/fuzz.py` tries as many as one likes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fuzz
import pytest
import torch

from labml_sd.errors import CheckpointError

KINDS = pytest.mark.parametrize("kind", list(fuzz.KINDS))


@KINDS
def test_damaged_files_are_refused_or_read_as_the_reference_reads_them(kind, tmp_path):
    command = [
        sys.executable,
        fuzz.__file__,
        "--kind",
        kind,
        "--count",
        "200",
        "--folder",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert done.returncode == 0
    assert (
        found["outcomes"]["refused"] > 20 < 10 * found["outcomes"]["accepted"]
    )  # both kinds occur


@KINDS
def test_a_mutant_follows_from_its_number(kind):
    seeds = fuzz.KINDS[kind].seeds()
    first, again, other = (
        fuzz.mutant(seeds, fuzz.random.Random(name)) for name in ("1", "1", "2")
    )
    assert first == again != other


def hang(path: Path):
    while True:
        time.sleep(0.01)


def grow(path: Path):
    bytearray(300 * 2**20)
    raise CheckpointError("x")


def crash(path: Path):
    raise KeyError("x")


def say_much(path: Path):
    error = CheckpointError("x")
    error.__class__ = type("Verbose", (CheckpointError,), {"__str__": lambda self: "x\ny"})
    raise error


def take_all(path: Path):
    return SimpleNamespace(tensors={"a": None}, read=lambda name: torch.zeros(1))


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (hang, b"", "hang"),
        (grow, b"", "grew by"),
        (crash, b"", "KeyError"),
        (say_much, b"", "several lines"),
        (take_all, b"nonsense", "the reference refuses it"),
        (take_all, None, "the reference reads other numbers"),
    ],
)
def test_the_fuzzer_notices_a_reader_that_is_wrong(
    reader, content, message, tmp_path, monkeypatch
):
    kind = fuzz.KINDS["safetensors"]
    (tmp_path / "x").write_bytes(kind.seeds()[0].data if content is None else content)
    monkeypatch.setattr(fuzz, "open_weights", reader)
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 1.0)
    old = fuzz.signal.signal(fuzz.signal.SIGALRM, fuzz._on_alarm)
    try:
        assert message in fuzz.try_one(kind, tmp_path / "x", fuzz.Tally())
    finally:
        fuzz.signal.signal(fuzz.signal.SIGALRM, old)
