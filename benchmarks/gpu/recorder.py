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
    message = crash.message if crash else report.longreprtext
    errors = [value for name, value in report.user_properties if name == "relative_error"]
    record(report.nodeid, report.outcome, errors, message if report.failed else "")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        record(report.nodeid, "failed", [], report.longreprtext.strip().rpartition("\n")[2])


def record(test: str, outcome: str, errors: list[object], message: str) -> None:
    """One line of JSON, with the first line of the message."""
    first = (message.strip().splitlines() or [""])[0]
    line = {"test": test, "outcome": outcome, "errors": errors, "message": first}
    with Path(os.environ[RESULTS]).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")
