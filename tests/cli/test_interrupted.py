"""Ctrl-C in the shell, in a process of its own: exit code 130, one line, whole pictures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from labml_sd.checkpoint import save_model
from labml_sd.cli import start as cli_start
from labml_sd.images.reading import read_picture

N_KILLS = 12  # sixty by hand, after a change of the command line
LINE = "labml-sd: error: interrupted\n"

# What the installed program does. The first import of the command line is told: what comes
# before it is the start of Python itself. With a place to stop given, Ctrl-C comes from inside,
# exactly there.
PROGRAM = """
import os, signal, sys
from labml_sd.cli.start import main

place, number = sys.argv.pop(1).split("/")

def tell(event, arguments):
    global place
    if event == "import" and arguments[0] == "labml_sd.cli.main":
        os.write(1, b"begun\\n")
    told = f"{event} {arguments[0] if arguments else ''}"
    if place and (told.startswith(place + " ") or told.endswith(place)):
        place = ""
        os.kill(os.getpid(), int(number))

sys.addaudithook(tell)
code = main()
os.write(1, b"ended\\n")
if place == "goodbye":
    os.kill(os.getpid(), int(number))
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def in_the_foreground():
    """A job started with & ignores Ctrl-C, and so would the processes of these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def arguments(model, tmp_path_factory):
    """Command lines that draw several pictures with the small model."""
    folder = tmp_path_factory.mktemp("shell")
    save_model(model, folder / "m", layout="diffusers")
    Image.effect_noise((32, 32), 60).save(folder / "in.png")
    shared = [
        "--model",
        folder / "m",
        "--steps",
        "12",
        "--seed",
        "1",
        "--n-samples",
        "4",
        "--outdir",
    ]
    return {
        "txt2img": ["txt2img", "a house", *shared],
        "img2img": ["img2img", "a house", "--init-image", folder / "in.png", *shared],
    }


def start(command, place="/0"):
    where = {
        **os.environ,
        "PYTHONPATH": str(Path(cli_start.__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    line = [sys.executable, "-c", PROGRAM, place, *map(str, command)]
    return subprocess.Popen(
        line, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def names(folder):
    """The files of a folder, all of which must be whole pictures."""
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    assert found == [f"{i:05d}.png" for i in range(len(found))]
    assert all(read_picture(folder / name).size == (32, 32) for name in found)
    return found


@pytest.mark.slow
def test_ctrl_c_at_any_moment_leaves_whole_pictures_one_line_and_130(arguments, tmp_path):
    # The first run is not disturbed: it tells how long one takes. Then each gets its signal in
    # its own share of that time.
    rng, seconds = Random(8), 0.0
    for i in range(N_KILLS + 1):
        process = start([*arguments[("txt2img", "img2img")[i % 2]], tmp_path / str(i)])
        process.stdout.readline()
        began = time.monotonic()
        if i:
            time.sleep((i - 1 + rng.random()) / N_KILLS * seconds)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        seconds = seconds or time.monotonic() - began
        assert (process.returncode, err) in [(130, LINE), (0, "")]
        drawn = names(tmp_path / str(i))
        assert process.returncode == 130 or len(drawn) == 4
        assert [Path(line).name for line in out.splitlines() if line != "ended"] == drawn[
            : out.count(".png")
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, n_saved",
    [
        pytest.param("import torch", 0, marks=pytest.mark.slow),
        pytest.param("import transformers", 0, marks=pytest.mark.slow),
        pytest.param(".part", 1, marks=pytest.mark.slow),
        ("os.link", 1),
    ],
    ids=[
        "while PyTorch is imported",
        "while the model loads",
        "before a file is written",
        "before it is named",
    ],
)
def test_ctrl_c_is_handled_during_imports_loading_and_saving(
    arguments, tmp_path, place, n_saved
):
    process = start([*arguments["txt2img"], tmp_path / "out"], f"{place}/{int(signal.SIGINT)}")
    _, err = process.communicate()
    assert (process.returncode, err) == (130, LINE)
    assert len(names(tmp_path / "out")) == n_saved


@pytest.mark.slow
def test_ctrl_c_after_the_end_changes_nothing():
    process = start(["env"], f"goodbye/{int(signal.SIGINT)}")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
def test_a_background_job_still_ignores_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(["env"], f"import torch/{int(signal.SIGINT)}")
    finally:
        signal.signal(signal.SIGINT, before)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
def test_a_killed_program_leaves_no_partial_picture(arguments, tmp_path):
    process = start([*arguments["txt2img"], tmp_path / "out"], f"os.link/{int(signal.SIGTERM)}")
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert [
        path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")
    ] == []
