"""Memory that really runs out: one line of error, and smaller pictures are drawn."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from labml_sd.checkpoint import save_model
from labml_sd.cli import start as cli_start
from labml_sd.pipeline.memory import retried

# A limit this much above what the process has taken so far. A picture of 1536 pixels a side
# needs two to four times as much; the small ones need little, but it must be there in one
# piece, for a thread and for the kernels of a new size.
MEGABYTES = 200
PROGRAM = """
import ctypes, resource, sys, warnings
import labml_sd

def limit(megabytes):
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20 if megabytes else -1, -1))

def draw(side, n=1):
    size = {"height": side, "width": side, "n_images": n}
    quick = {"steps": 1, "guidance_scale": 1, "progress": False}
    images = labml_sd.txt2img(model, "a house", **size, **quick)
    return [image.tobytes() for image in images]

model = labml_sd.load_model(sys.argv.pop(1), device="cpu")
before = draw(48)
ctypes.CDLL("libgcc_s.so.1")  # loaded when the first thread ends: later there is no memory
"""
LIBRARY = f"""
limit({MEGABYTES})
try:
    draw(1536)
except labml_sd.GenerationError as error:
    print(error)
print(draw(48) == before)
smaller = draw(64)
limit(0)
print(draw(64) == smaller)
"""
SHELL = f"""
from labml_sd.cli import draw as cli_draw, start as cli_start
cli_draw.load_model = lambda *source, **options: model
limit({MEGABYTES})
sys.exit(cli_start.main())
"""


@pytest.fixture
def run(model, tmp_path):
    """Runs a program in a process of its own: (exit code, output, errors)."""
    save_model(model, tmp_path / "m", layout="diffusers")
    where = {
        **os.environ,
        "PYTHONPATH": str(Path(cli_start.__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }

    def run_program(program, *arguments):
        command = [sys.executable, "-c", PROGRAM + program, str(tmp_path / "m"), *arguments]
        done = subprocess.run(
            command, env=where, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run_program


@pytest.mark.slow
def test_what_does_not_fit_is_said_in_one_line_and_what_fits_is_drawn_as_ever(run):
    code, out, err = run(LIBRARY)
    assert (code, err) == (0, [])
    assert out[0].startswith("out of memory with 1 picture of 1536x1536: draw smaller pictures")
    assert out[1:] == ["True", "True"]


@pytest.mark.slow
def test_the_shell_says_it_in_one_line_and_ends_with_2(run):
    size = ["--height", "1536", "--width", "1536", "--steps", "1", "--guidance-scale", "1"]
    code, out, err = run(SHELL, "txt2img", "a house", "--seed", "1", *size)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("labml-sd: error: out of memory with 1 picture of 1536x1536")


def test_where_a_thread_can_make_no_kernel_any_more_another_one_does():
    def run():
        if threading.current_thread() is threading.main_thread():
            raise RuntimeError("could not create a primitive")
        return torch.ones(2) if not torch.is_grad_enabled() else torch.zeros(2)

    with torch.no_grad():
        assert retried(run).tolist() == [1, 1]


def test_a_failure_of_another_kind_is_not_tried_again():
    asked = []

    def run():
        asked.append(1)
        raise RuntimeError("Sizes of tensors must match")

    with pytest.raises(RuntimeError, match="Sizes"):
        retried(run)
    assert asked == [1]
