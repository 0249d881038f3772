"""A few hundred damaged files of each kind, and many more with `-m slow`."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fuzz
import pytest
import torch

from labml_sd.errors import CheckpointError

KINDS = pytest.mark.parametrize("kind", list(fuzz.KINDS))


@KINDS
@pytest.mark.parametrize(
    ("count", "seed"), [(200, 0), pytest.param(20_000, 1, marks=pytest.mark.slow)]
)
def test_damaged_files_are_refused_or_read_as_the_reference_reads_them(kind, count, seed):
    command = [sys.executable, fuzz.__file__, kind, f"{count}", f"{seed}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    outcomes = found["outcomes"]
    assert outcomes["refused"] > count / 10 and outcomes["accepted"] > count / 100


@KINDS
def test_a_mutant_follows_from_its_number(kind):
    seeds = fuzz.KINDS[kind].seeds()
    first, again, other = (
        fuzz.mutant(seeds, fuzz.random.Random(name)) for name in ("1", "1", "2")
    )
    assert first == again != other


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
    assert message in fuzz.try_one(kind, tmp_path / "x", fuzz.Tally())
