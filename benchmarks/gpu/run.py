"""Run the stages in order, each in its own process; the report is written whenever it grows.

`OUT=folder GPU_WORK=folder python -m gpu.run [--dry-run] [--stages NAME ...] [--minutes 8]`
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu.page import page
from gpu.process import DONE, Process
from gpu.stages import BESIDE, DRY_BUDGET, LEAST, QUIET, STAGES, TOTAL, Stage

OVER, INTERRUPTED = "over its budget", "interrupted"
LEFT_OUT, MADE_WAY = "no time left", "ended for the next stage"
TICK = 0.1  # seconds between two looks at a stage
TO_SPARE = 5.0  # seconds at the end, to write the report


@dataclass(kw_only=True)
class Run:
    """One run: its folders, its clock, and the report as it stands."""

    out: Path
    work: Path
    dry_run: bool = False
    total: float = TOTAL
    spent: float = 0.0  # seconds before this process started
    started: float = field(default_factory=time.monotonic)
    entries: list[dict[str, Any]] = field(default_factory=list)
    running: list[Process] = field(default_factory=list)
    written: str = ""

    def budget(self, stage: Stage) -> float:
        """Seconds that a stage may take now; 0 when it is not worth its start."""
        if self.dry_run:
            return DRY_BUDGET
        left = self.total - self.spent - (time.monotonic() - self.started) - TO_SPARE
        if stage.seconds is None:
            return left if left >= LEAST / 2 else 0.0
        return max(0.0, min(stage.seconds, left))

    def write(self) -> None:
        """The report as JSON and as a page, if anything is new; never half a file."""
        for process in self.running:
            process.look()
        report = {"dry_run": self.dry_run, "stages": self.entries}
        text = json.dumps(report, indent=1)
        if text != self.written:
            replace(self.out / "gpu.json", f"{text}\n")
            replace(self.out / "gpu.md", page(report))
            self.written = text

    def run(self, stage: Stage) -> None:
        """One stage, to its end or that of its budget; one beside others is only started."""
        if stage.manner == QUIET:
            self.end_all(MADE_WAY)
        budget = self.budget(stage)
        entry = {
            "name": stage.name,
            "title": stage.title,
            "status": "running" if budget else LEFT_OUT,
            "budget": budget,
            "seconds": 0.0,
            "findings": [],
        }
        self.entries.append(entry)
        if budget:
            results = self.work / f"{stage.name}.jsonl"
            command = self.command(stage, budget, results)
            process = Process(command, entry, results, self.out / "gpu.log")
            self.running.append(process)
            if stage.manner != BESIDE:
                self.wait(process)
                self.end(process, OVER)
        self.write()

    def command(self, stage: Stage, budget: float, results: Path) -> list[str]:
        """The command line of a stage."""
        command = [
            *(sys.executable, "-m", "gpu.child", stage.module, f"--variant={stage.variant}"),
            *("--until", str(time.time() + budget), "--results", str(results)),
            *("--out", str(self.out), "--work", str(self.work)),
        ]
        return [*command, "--dry-run"] if self.dry_run else command

    def wait(self, process: Process) -> None:
        """Until it ends, or its budget does."""
        while process.runs():
            self.write()
            time.sleep(TICK)

    def end(self, process: Process, if_running: str) -> None:
        """End a stage, and print its line."""
        process.end(if_running)
        self.running.remove(process)
        entry = process.entry
        print(f"{entry['title']}: {entry['status']}, {entry['seconds']:.0f} s", flush=True)

    def end_all(self, if_running: str) -> None:
        """End what runs beside the others; a dry run waits for it, to see that it works."""
        for process in list(self.running):
            if self.dry_run and if_running == MADE_WAY:
                self.wait(process)
            self.end(process, if_running)


def replace(path: Path, text: str) -> None:
    """Write a file in one step."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def run_all(run: Run, stages: Sequence[Stage]) -> int:
    """All stages; 0 when each was done, 1 when one was not, 130 after Ctrl-C."""
    for folder in (run.out, run.work):
        folder.mkdir(parents=True, exist_ok=True)
    (run.out / "gpu.log").write_text("", encoding="utf-8")
    try:
        for stage in stages:
            run.run(stage)
        run.end_all(MADE_WAY)
    except KeyboardInterrupt:
        return 130
    finally:
        run.end_all(INTERRUPTED)
        run.write()
    return int(any(entry["status"] not in (DONE, MADE_WAY) for entry in run.entries))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, at small sizes")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=TOTAL / 60, help="for all of it (8)")
    parser.add_argument("--spent", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a process in the background ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    run = Run(
        out=Path(os.environ["OUT"]).resolve(),
        work=Path(os.environ["GPU_WORK"]).resolve(),
        dry_run=args.dry_run,
        total=60 * args.minutes,
        spent=args.spent,
    )
    code = run_all(run, [stage for stage in STAGES if stage.name in args.stages])
    print((run.out / "gpu.md").read_text(encoding="utf-8"))
    return code


if __name__ == "__main__":
    sys.exit(main())
