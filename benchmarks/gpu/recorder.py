"""A pytest plugin: each result is written down when it is known, so a run may be ended early.

`GPU_TEST_RESULTS=file pytest -p gpu.recorder`
"""

import json
import os
from pathlib import Path

import pytest

RESULTS = "GPU_TEST_RESULTS"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line a test, by the process that collects the results of all workers."""
    told = report.when == "call" or report.outcome != "passed"  # or it failed in its set-up
    if not told or "PYTEST_XDIST_WORKER" in os.environ:
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    message = (crash.message if crash else report.longreprtext).strip().splitlines()
    line = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "errors": [value for name, value in report.user_properties if name == "relative_error"],
        "message": message[0] if report.failed and message else "",
    }
    with Path(os.environ[RESULTS]).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")
