"""Several real processes that draw one list, by a launcher or by the environment alone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from labml_sd.checkpoint import save_model
from labml_sd.cli.processes import beside_others

ROOT = Path(__file__).parents[2]
LIST = ["--model", "m", "--steps", "2", "--seed", "7", "--n-samples", "2"]
PROMPTS = ["txt2img", "--prompt-file", "p.txt", *LIST]
PICTURES = ["img2img", "a house", "--init-image", "photos", *LIST]

# The program; `number` is sent to it by itself when it saves its second picture.
PROGRAM = """
import os, sys
from labml_sd.cli.start import main

number, left = int(sys.argv.pop(1)), 2

def tell(event, arguments):
    global left
    left -= event == "os.link"
    if event == "os.link" and left == 0:
        os.kill(os.getpid(), number)

sys.addaudithook(tell)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A folder with a model, a list of prompts, one of pictures, and what one process draws."""
    folder = tmp_path_factory.mktemp("lists")
    save_model(model, folder / "m", layout="diffusers")
    (folder / "p.txt").write_text("a house\na boat\na tree\na car\nthe moon\n")
    start(PROMPTS, folder).communicate()
    shutil.copytree(folder / "outputs", folder / "photos")
    whole = (folder / "photos/00003.png").read_bytes()
    (folder / "photos/00003.png").write_bytes(whole[:200])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy to draw in, without pictures."""
    return Path(shutil.copytree(made, tmp_path / "here", ignore=lambda *_: ["outputs"]))


def start(arguments, folder, rank=0, count=1, program=("-m", "labml_sd")):
    """A process of its own in the foreground: one in the background would ignore Ctrl-C."""
    where = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
    }
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=folder,
            env=where,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


@pytest.mark.slow
def test_two_processes_at_once_draw_the_files_of_one(made, folder):
    both = [start(PROMPTS, folder, rank, 2) for rank in range(2)]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [err for _, err in told] == ["", ""]
    paths = sorted(line for out, _ in told for line in out.splitlines())
    assert paths == [f"outputs/{i:05d}.png" for i in range(10)]
    assert contents(folder / "outputs") == contents(made / "outputs")


@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_picture_of_another(made, folder):
    whole = contents(made / "outputs")
    killed = start(PROMPTS, folder, 1, 2, ("-c", PROGRAM, str(int(signal.SIGKILL))))
    other = start(PROMPTS, folder, 0, 2)
    assert other.communicate()[1] == "" and other.returncode == 0
    assert killed.communicate()[1] == "" and killed.returncode == -signal.SIGKILL
    drawn = contents(folder / "outputs")
    assert sorted(drawn) == [f"{i:05d}.png" for i in (0, 1, 2, 4, 5, 8, 9)]
    resumed = start([*PROMPTS, "--resume"], folder)  # by another number of processes
    assert resumed.communicate()[0].split() == [f"outputs/{i:05d}.png" for i in (3, 6, 7)]
    assert contents(folder / "outputs") == whole


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_is_ended_tells_how_the_list_goes_on(folder, number, code):
    ended = start(PROMPTS, folder, program=("-c", PROGRAM, str(int(number))))
    _, err = ended.communicate()
    line = "labml-sd: error: interrupted; --resume --seed 7 draws the rest\n"
    assert (ended.returncode, err) == (code, line)


def test_a_process_that_failed_waits_for_the_others(tmp_path):
    other = """
import sys
from pathlib import Path
from labml_sd.cli.processes import beside_others

with beside_others(Path(), 2):
    print("begun", flush=True)
    sys.stdin.read()
    Path("ended").touch()
"""
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", other], cwd=tmp_path, env=where, stdin=pipe, stdout=pipe
    ) as process:
        process.stdout.readline()
        with beside_others(tmp_path, 2) as wait:
            process.stdin.close()
            wait()
            assert (tmp_path / "ended").exists()


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def launcher(name):
    port = free_port()
    if name == "torchrun":
        return ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    words = ["--multi_gpu", "--num_processes", "2", "--main_process_port", port]
    return ["accelerate.commands.launch", *words]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchrun", "accelerate"])
def test_a_launcher_shares_a_folder_that_holds_a_damaged_picture(folder, name):
    alone = start([*PICTURES, "--outdir", "alone"], folder)
    _, line = alone.communicate()
    assert alone.returncode == 2 and "00006.png and 1 more (photos/00003.png is" in line
    for draws in (range(20), (0, 1, 2, 3)):  # the second time most are there
        program = ("-m", *launcher(name), "-m", "labml_sd")
        shared = start([*PICTURES, "--resume"], folder, program=program)
        out, err = shared.communicate()
        assert shared.returncode == 1 and line in err
        drawn = [f"outputs/{i:05d}.png" for i in draws if i not in (6, 7)]
        assert sorted(each for each in out.splitlines() if each.endswith(".png")) == drawn
        assert contents(folder / "outputs") == contents(folder / "alone")
        for i in range(4):
            os.remove(folder / f"outputs/{i:05d}.png")
