"""The command for a GPU: stages that fail, run over, are interrupted; dry runs on the CPU."""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gpu import estimate, floors, gpu_tests, stages
from gpu.run import INTERRUPTED, LEFT_OUT, MADE_WAY, OVER, Run, run_all
from gpu.stages import BESIDE, LOUD, STAGES, Stage

ROOT = Path(__file__).parents[2]
FIND = """
import json, os, sys, time
def find(finding, **values):
    with open(os.environ["RESULTS"], "a") as file:
        file.write(json.dumps({"finding": finding, **values}) + "\\n")
"""


class Scripted(Run):
    """A run whose stages are scripts: their text stands in the place of the module's name."""

    def command(self, stage, budget, results):
        os.environ["RESULTS"] = str(results)
        return [sys.executable, "-c", FIND + stage.module]


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    monkeypatch.setenv("RESULTS", "")

    def make(**settings):
        return Scripted(out=tmp_path / "out", work=tmp_path / "work", **settings)

    return make


def stage(name, script, seconds=60.0, manner=stages.QUIET):
    return Stage(name, name, seconds, script, manner=manner)


def report(run):
    found = json.loads((run.out / "gpu.json").read_text(encoding="utf-8"))["stages"]
    return {entry["name"]: entry for entry in found}


def test_a_stage_that_fails_is_written_down_and_the_next_one_runs(scripted):
    run = scripted()
    code = run_all(
        run,
        [
            stage("raises", "find('half', of=1); raise ValueError('no such thing')"),
            stage("killed", "os.kill(os.getpid(), 11)"),
            stage("works", "find('whole', of=2)"),
        ],
    )
    found = report(run)
    assert code == 1
    assert [entry["status"] for entry in found.values()] == ["failed", "failed", "done"]
    assert {"finding": "half", "of": 1} in found["raises"]["findings"]
    assert "exit code -11" in found["killed"]["findings"][0]["message"]
    assert found["works"]["findings"] == [{"finding": "whole", "of": 2}]
    assert "ValueError: no such thing" in (run.out / "gpu.log").read_text(encoding="utf-8")
    page = (run.out / "gpu.md").read_text(encoding="utf-8")
    assert "half: of 1" in page and "whole: of 2" in page and "exit code -11" in page


def test_a_stage_that_runs_over_is_ended_with_all_that_it_started(scripted):
    run = scripted()
    spawns = "import subprocess; child = subprocess.Popen(['sleep', '60']); "
    code = run_all(
        run,
        [
            stage("over", f"{spawns}find('child', pid=child.pid); time.sleep(60)", seconds=1.5),
            stage("after", "find('done')"),
        ],
    )
    found = report(run)
    assert code == 1
    assert found["over"]["status"] == OVER and found["after"]["status"] == "done"
    assert not is_alive(found["over"]["findings"][0]["pid"])


def is_alive(pid):
    """A process that nobody has waited for yet is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_finding_is_in_the_report_while_its_stage_still_runs(scripted):
    run = scripted()
    waits = f"""
find("early", of=1)
for _ in range(600):
    if "early" in open({str(run.out / "gpu.json")!r}).read():
        sys.exit(0)
    time.sleep(0.1)
sys.exit(3)
"""
    assert run_all(run, [stage("waits", waits)]) == 0


def test_after_ctrl_c_the_report_has_what_was_measured(scripted, monkeypatch):
    run = scripted()

    def interrupted(self, process):
        while not process.entry["findings"]:
            process.look()
        raise KeyboardInterrupt

    monkeypatch.setattr(Scripted, "wait", interrupted)
    script = "find('kept', of=1); time.sleep(60)"
    assert run_all(run, [stage("first", script), stage("never", "")]) == 130
    assert list(report(run)) == ["first"]
    assert report(run)["first"]["status"] == INTERRUPTED
    assert "kept: of 1" in (run.out / "gpu.md").read_text(encoding="utf-8")


def test_what_runs_beside_others_is_ended_before_time_is_measured(scripted):
    run = scripted()
    code = run_all(
        run,
        [
            stage("beside", "find('pid', pid=os.getpid()); time.sleep(60)", manner=BESIDE),
            stage("loud", wait_for_file(run.work / "beside.jsonl"), manner=LOUD),
            stage("quiet", "find('parent')"),
        ],
    )
    found = report(run)
    assert code == 0
    assert [entry["status"] for entry in found.values()] == [MADE_WAY, "done", "done"]
    assert not is_alive(found["beside"]["findings"][0]["pid"])


def wait_for_file(path):
    return f"""
for _ in range(600):
    if os.path.exists({str(path)!r}) and open({str(path)!r}).read().endswith(chr(10)):
        sys.exit(0)
    time.sleep(0.1)
sys.exit(3)
"""


def test_without_time_left_a_stage_is_not_started(scripted):
    run = scripted(total=480, spent=475.5)
    assert run_all(run, [stage("late", "find('started')"), stage("rest", "", None)]) == 1
    assert {entry["status"] for entry in report(run).values()} == {LEFT_OUT}
    assert report(run)["late"]["findings"] == []


def test_the_budgets_come_to_eight_minutes():
    waited_for = [one.seconds for one in STAGES if one.manner != BESIDE]
    assert waited_for[-1] is None and None not in waited_for[:-1]
    assert sum(waited_for[:-1]) + stages.LEAST == stages.TOTAL == 480


@pytest.mark.slow
def test_every_stage_is_expected_to_end_within_its_budget():
    expected, budgets = estimate.costs(), {one.name: one for one in STAGES}
    alone = {"estimate", "ahead", "training"}
    assert set(expected) == set(budgets) - alone
    assert all(cost.seconds <= budgets[name].seconds for name, cost in expected.items())
    assert expected["eager"].operations > expected["rival"].operations > 1e14


@pytest.mark.parametrize("one", STAGES, ids=lambda one: one.name)
def test_every_stage_can_be_called(one):
    measure = importlib.import_module(one.module).measure
    inspect.signature(measure).bind(*["context", *([one.variant] if one.variant else [])])


def test_only_files_with_tests_for_a_gpu_are_imported_there():
    found = gpu_tests.files()
    assert {"tests/parity", "tests/gpu/test_waiting.py", "tests/sampler/test_loop.py"} <= set(
        found
    )
    assert "tests/sampler/test_schedule.py" not in found
    assert not any(path.startswith(("tests/notebooks", "tests/docs")) for path in found)


def test_the_floors_are_held_against_what_was_measured():
    step = {"finding": "step", "pixels": 512, "images": 1, "dtype": "float16"}
    times = {"q1": 0, "q3": 0, "min": 0}
    found = [
        {**step, "contender": "labml_sd", "seconds": {"median": 0.01, **times}, "ratio": {}},
        {
            **step,
            "contender": "diffusers",
            "seconds": {"median": 0.02, **times},
            "ratio": {"median": 0.5},
        },
        {**step, "contender": "labml_sd compiled", "seconds": {"median": 0.02, **times}},
        {"finding": "tests", "passed": 5, "failed": 1},
    ]
    rows = {row[0]: row[1:] for row in floors.floors(found)}
    assert rows["eager, 512 px, 1 image, float16: steps/s"] == ("> 54.5", "100", "yes")
    assert rows["compiled, the same (150 is hoped for)"][1:] == ("50", "**NO**")
    assert rows["cells in which diffusers is as fast"] == ("0 of 1", "0", "yes")
    assert rows["failed tests"] == ("0 of 6", "1", "**NO**")
    assert rows["loops that wait for the GPU"][2] == "not measured"


def dry_run(tmp_path, *stages):
    settings = {"OUT": str(tmp_path / "out"), "GPU_WORK": str(tmp_path / "work")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [ROOT / "benchmarks/gpu.sh", "--dry-run", "--stages", *stages],
        env=os.environ | settings | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_stage_is_tried_on_the_cpu(tmp_path):
    process = dry_run(tmp_path, "environment")
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "Environment: done" in printed and "matrix product: dtype float16" in printed


@pytest.mark.slow
def test_every_stage_is_tried_on_the_cpu(tmp_path):
    process = dry_run(tmp_path, *(one.name for one in STAGES))
    printed, _ = process.communicate()
    log = (tmp_path / "out" / "gpu.log").read_text(encoding="utf-8")
    assert process.returncode == 0, printed + log
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))["stages"]
    assert [entry["status"] for entry in found] == ["done"] * len(STAGES)
    assert all(entry["findings"] for entry in found)
    findings = [one for entry in found for one in entry["findings"]]
    names = {one["name"] for one in findings if one["finding"] == "file"}
    assert names == {"images.png", "training.png", "unet_float16.safetensors"}
    back = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert names | {"gpu.json", "gpu.md", "gpu.log"} == set(back)
    assert len(back) <= 8 and max(back.values()) < 16 * 2**20


@pytest.mark.slow
def test_when_it_is_terminated_the_report_stays(tmp_path):
    process = dry_run(tmp_path, "environment", "images")
    results = tmp_path / "work" / "environment.jsonl"
    while process.poll() is None and not results.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    entry = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))["stages"][0]
    assert entry["status"] == INTERRUPTED
