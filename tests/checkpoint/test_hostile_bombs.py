"""Time and memory of the worst files, in a process without the checks of types that tests run under."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("hostile_bombs.py")
SECONDS, BYTES = 2, 200 * 2**20


def run(*arguments: str | Path) -> dict:
    done = subprocess.run(
        [sys.executable, CHILD, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_file_takes_two_seconds_or_200_megabytes(tmp_path):
    found = run(tmp_path)
    assert len(found) > 30
    assert {name: it for name, it in found.items() if it[0] not in ("read", "refused")} == {}
    assert {name: it for name, it in found.items() if it[1] > SECONDS or it[2] > BYTES} == {}


@pytest.mark.parametrize(
    ("reader", "place", "limit"), [("linger", 1, SECONDS), ("hoard", 2, BYTES)]
)
def test_the_measurement_notices_a_reader_that_takes_more(reader, place, limit, tmp_path):
    assert run(tmp_path, reader)["check"][place] > limit
