"""Runs that are fresh processes, whose anonymous memory is read from outside while they run.

Anonymous memory is what a process allocates itself. Pages of a mapped file are not in it: they
are shared with the page cache.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import torch
from pairs import Reading

SCRIPT = Path(__file__).with_name("child.py")
INTERVAL = 0.003  # seconds between two readings of its memory


def anonymous_gib(pid: int) -> float:
    """The process's anonymous memory now; 0 if the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) / 2**20 if found else 0.0


def watched(*arguments: str) -> Reading:
    """Run child.py: the seconds of each phase, and the peak of memory since the start.

    RuntimeError if it fails.
    """
    reading: Reading = {}
    peak = 0.0
    command = [sys.executable, str(SCRIPT), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=_forward, args=(process, lines), daemon=True).start()
        while (line := _next(lines)) != "":
            peak = max(peak, anonymous_gib(process.pid))
            if line is not None:
                name, _, seconds = line.strip().rpartition(" ")
                reading |= {name: float(seconds), f"{name}, peak GiB": peak}
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return reading


def _forward(process: "subprocess.Popen[str]", lines: "SimpleQueue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _next(lines: "SimpleQueue[str]") -> str | None:
    try:
        return lines.get(timeout=INTERVAL)
    except Empty:
        return None


def whole(command: Sequence[str]) -> Reading:
    """The wall-clock time of a command from start to end. RuntimeError if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-300:]}"
        )
    return {"seconds": seconds}


def environment() -> dict[str, str]:
    """This process's environment, with as many threads as it uses."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "HF_HUB_OFFLINE": "1",
    }
