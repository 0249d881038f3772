"""Stage 2: `pytest -m gpu`, the float64 parity of the networks on the GPU among it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from gpu.context import Context
from gpu.recorder import RESULTS

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("tests/notebooks", "tests/docs")  # minutes, and Jupyter; an example in a string
REHEARSED = ("tests/gpu", "tests/parity", "-k", "not float16")
"""What runs on a CPU too, without what is too slow there."""
WORKERS = 4
OPTIONS = (
    *("-q", "-m", "gpu and not full_size", "-o", "addopts=", "--strict-markers"),
    *("--import-mode=importlib", "--jaxtyping-packages=labml_sd,beartype.beartype"),
    *(
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        "-p",
        "xdist",
        "-p",
        "jaxtyping._pytest_plugin",
    ),
    *("-p", "gpu.recorder"),
)
"""Those of pyproject.toml, but for notebooks; no plugin that the machine happens to have."""


def measure(context: Context) -> None:
    """Run them within the budget; what is not finished by then is missing from the counts."""
    results = context.work / "gpu_tests.jsonl"
    results.unlink(missing_ok=True)
    ended = run_pytest(context, results)
    found = [json.loads(line) for line in lines(results)]
    counts = Counter(result["outcome"] for result in found)
    context.record("tests", ended=ended, **counts)
    errors = [error for result in found for error in parity_errors(result)]
    if errors:
        context.record("float64 parity", comparisons=len(errors), largest=max(errors))
    for result in found:
        if result["outcome"] == "failed":
            context.record("failed test", test=result["test"], message=result["message"])
    if ended != "finished" or counts["failed"] or not counts["passed"]:
        raise RuntimeError(f"pytest {ended}: {dict(counts)}")


def run_pytest(context: Context, results: Path) -> str:
    """Run pytest in a process of its own; how it ended."""
    where = REHEARSED if context.dry_run else files()
    workers = 0 if context.dry_run else WORKERS
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-n", str(workers), *where]
    settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", RESULTS: str(results)}
    if context.dry_run:
        settings |= {"LABML_SD_GPU_REHEARSAL": "1", "OMP_NUM_THREADS": "1"}
    elif not torch.cuda.is_available():
        raise RuntimeError("torch finds no GPU")
    # a test of this command may itself run in a worker of pytest-xdist
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=outside | settings, timeout=max(1, context.left() - 3)
        )
    except subprocess.TimeoutExpired:
        return "ran over its time"
    return "finished" if done.returncode in (0, 1) else f"gave exit code {done.returncode}"


def files() -> list[str]:
    """The folder of parity tests, whose fixture has the mark, and each file that names it.

    Others are not even imported: they may need a package that the machine lacks.
    """
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    return ["tests/parity", *(path for path in marked if not path.startswith(LEFT_OUT))]


def lines(path: Path) -> list[str]:
    """The lines of a file that may not exist."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def parity_errors(result: dict[str, Any]) -> list[float]:
    """Of a test that compares with another library; some tests are meant to see differences."""
    compares = "tests/parity/" in result["test"] and "_equal" in result["test"]
    return result["errors"] if compares else []
