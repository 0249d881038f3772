"""The compiled U-Net, replayed as CUDA graphs, gives the plain one's numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def answer(gpu):
    child = Path(__file__).with_name("compiled_child.py")
    backend = "inductor" if gpu.type == "cuda" else "eager"
    done = subprocess.run(
        [sys.executable, str(child), gpu.type, backend], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_on_a_gpu_a_compiled_unet_is_graphed(answer, gpu):
    assert answer["graphed"] == (gpu.type == "cuda")


@pytest.mark.parametrize("weights", ["", " with changed weights", " with moved weights"])
def test_every_input_and_size_has_the_plain_answer(answer, weights):
    assert answer[f"error{weights}"] <= 1e-3  # convolutions round to TF32


def test_a_compiled_unet_that_comes_to_the_gpu_for_a_call_has_the_plain_answer(answer):
    assert answer["error when offloaded"] <= 1e-3
