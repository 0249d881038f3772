"""The report as a page of Markdown."""

from collections.abc import Sequence
from typing import Any

from gpu.floors import floors
from gpu.tables import SECTIONS, TIMED, Finding, one_line

Report = dict[str, Any]
GOOD = ("done", "running", "ended for the next stage")


def page(report: Report) -> str:
    """Verdicts first, then the stages, then what each of them found."""
    stages = report["stages"]
    found = [finding for stage in stages for finding in stage["findings"]]
    parts = ["# labml_sd on a GPU", *machine(found)]
    held = found
    if report["dry_run"]:
        held = [one for one in found if one["finding"] not in TIMED]
        parts.append(
            "**A dry run on a CPU, at small sizes: its times, rates and memory mean nothing.**"
        )
    parts += ["## What must hold", table(("", "must be", "is", ""), floors(held))]
    parts += ["## Stages", table(STAGE_HEAD, stage_rows(stages, found))]
    for stage in stages:
        body = section(stage)
        if body:
            parts += [f"## {stage['title']}", *body]
    return "\n\n".join(parts) + "\n"


STAGE_HEAD = (
    *("stage", "ended", "seconds", "budget"),
    *("estimate on an H100, seconds", "TFLOP", "seconds at 790 TFLOP/s"),
)


def machine(found: Sequence[Finding]) -> list[str]:
    """The line that says what it ran on."""
    return [one["line"] for one in found if one["finding"] == "machine"]


def stage_rows(
    stages: Sequence[dict[str, Any]], found: Sequence[Finding]
) -> list[tuple[str, ...]]:
    """How each stage ended, beside what it was expected to cost."""
    rows, estimates = [], {one["stage"]: one for one in found if one["finding"] == "estimate"}
    for stage in stages:
        cost = estimates.get(stage["name"])
        expected = ("", "", "")
        if cost:
            peak = f"{cost['seconds_at_peak']:.1f}"
            expected = (f"{cost['seconds']:.0f}", f"{cost['tflop']:.0f}", peak)
        times = (f"{stage['seconds']:.0f}", f"{stage['budget']:.0f}")
        status = stage["status"] if stage["status"] in GOOD else f"**{stage['status']}**"
        rows.append((stage["title"], status, *times, *expected))
    if estimates:
        total = sum(cost["seconds"] for cost in estimates.values())
        rows.append(("all but training", "", "", "", f"{total:.0f}", "", ""))
    return rows


def section(stage: dict[str, Any]) -> list[str]:
    """What a stage found: its tables, then whatever has none, an error among it."""
    made, shown = [], set()
    for kind, (head, rows) in SECTIONS.items():
        of_kind = [one for one in stage["findings"] if one["finding"] == kind]
        if of_kind:
            made.append(table(head, rows(of_kind)))
            shown.add(kind)
    shown |= {"machine", "estimate"}  # told above
    rest = [one for one in stage["findings"] if one["finding"] not in shown]
    if rest:
        made.append("\n".join(f"- {one_line(one)}" for one in rest))
    return made


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
