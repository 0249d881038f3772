"""The process of a stage, seen from outside: start it, read what it found, end it."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

DONE, FAILED = "done", "failed"


class Process:
    """A stage that was started. `entry` is its part of the report and is kept up to date."""

    def __init__(
        self, command: list[str], entry: dict[str, Any], results: Path, log: Path
    ) -> None:
        self.entry, self.results, self.started = entry, results, time.monotonic()
        results.unlink(missing_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\n=== {entry['name']}, {entry['budget']:.0f} s\n")
            file.flush()
            # In a group of its own: what it starts is ended with it, and Ctrl-C is ours alone.
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, process_group=0
            )

    def runs(self) -> bool:
        """Whether it goes on, within its budget."""
        over = time.monotonic() - self.started >= self.entry["budget"]
        return self.process.poll() is None and not over

    def look(self) -> None:
        """Read what it has written; a last line that is not whole yet is left for later."""
        if self.results.exists():
            whole, _, _ = self.results.read_text(encoding="utf-8").rpartition("\n")
            self.entry["findings"] = [json.loads(line) for line in whole.splitlines()]

    def end(self, if_running: str) -> None:
        """End it and all that it started; `if_running` is its status where it still ran."""
        code = self.process.poll()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.look()
        self.entry["seconds"] = time.monotonic() - self.started
        self.entry["status"] = if_running if code is None else FAILED if code else DONE
        if code and not any(one["finding"] == "error" for one in self.entry["findings"]):
            message = f"ended with exit code {code}; gpu.log has its last words"
            self.entry["findings"].append({"finding": "error", "message": message})
