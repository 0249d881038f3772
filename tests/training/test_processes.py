import os
import pickle
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import read_state
from labml_sd.training.stages import TOKENIZER, train_stage
from labml_sd.utilities import device

N_STEPS = 6
STAGES = ("autoencoder", "clip", "diffusion")

WORKER = """
import pickle, sys
from pathlib import Path
import torch
from labml_sd.training.processes import join_processes
from labml_sd.training.stages import train_stage
from labml_sd.utilities import device

device.fast_bfloat16 = lambda device: False
recipe, folder, stages = pickle.loads(Path(sys.argv[1]).read_bytes())
with join_processes() as processes:
    for stage in stages:
        train_stage(stage, recipe, folder / stage, n_steps=6, seed=0,
                    device=torch.device("cpu"), progress=False, processes=processes)
"""


def test_parts_of_a_batch_lie_one_after_the_other():
    parts = [Processes(rank, 3).share(list(range(6))) for rank in range(3)]
    assert parts == [[0, 1], [2, 3], [4, 5]]


def test_one_process_gets_its_input_back():
    x = torch.ones(2, 3)
    assert ALONE.share(x).data_ptr() == x.data_ptr()
    assert ALONE.gather(x) is x and ALONE.mean([x])[0] is x
    assert ALONE.any(True) and not ALONE.any(False)


@pytest.fixture(scope="module")
def curves(small_recipe, tmp_path_factory):
    """The losses of one process with twice the batch, and of two by `accelerate launch`."""
    folder = tmp_path_factory.mktemp("processes")
    quick = {
        "warmup": 1,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
    }  # so that six steps change much
    one = replace(
        small_recipe,
        autoencoder=replace(small_recipe.autoencoder, **quick, whole_from=0.5),
        clip=replace(small_recipe.clip, **quick),
        diffusion=replace(small_recipe.diffusion, **quick),
    )
    with pytest.MonkeyPatch.context() as patch:  # bfloat16 rounds by the size of the batch
        patch.setattr(device, "fast_bfloat16", lambda device: False)
        for stage in ("autoencoder", "decoder", "clip", "diffusion"):
            train(stage, doubled(one), folder / "one")
    (folder / "two/diffusion").mkdir(parents=True)
    shutil.copytree(folder / "one" / TOKENIZER, folder / "two/diffusion" / TOKENIZER)
    for stage in ("decoder", "clip"):
        shutil.copy(folder / f"one/{stage}.pt", folder / "two/diffusion")
    launch(pickle.dumps((one, folder / "two", STAGES)), folder)
    return {
        stage: (
            read_state(folder / f"one/{stage}.pt"),
            read_state(folder / f"two/{stage}/{stage}.pt"),
        )
        for stage in STAGES
    }


def doubled(recipe):
    return replace(
        recipe,
        autoencoder=replace(recipe.autoencoder, batch_size=2 * recipe.autoencoder.batch_size),
        clip=replace(
            recipe.clip,
            batch_size=2 * recipe.clip.batch_size,
            n_hard_scenes=2 * recipe.clip.n_hard_scenes,
        ),
        diffusion=replace(recipe.diffusion, batch_size=2 * recipe.diffusion.batch_size),
    )


def train(stage, recipe, folder):
    train_stage(
        stage,
        recipe,
        folder,
        n_steps=N_STEPS,
        seed=0,
        device=torch.device("cpu"),
        progress=False,
    )


def launch(job: bytes, folder: Path) -> None:
    (folder / "job").write_bytes(job)
    (folder / "worker.py").write_text(WORKER)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ["--multi_gpu", "--num_processes", "2", "--main_process_port", str(port)]
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    subprocess.run(
        [*command, str(folder / "worker.py"), str(folder / "job")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_learn_what_one_learns_from_twice_the_batch(stage, curves):
    one, two = curves[stage]
    assert len(one["curve"]) == len(two["curve"]) == N_STEPS
    for alone, together in zip(one["curve"], two["curve"], strict=True):
        assert alone == pytest.approx(together, rel=1e-4)
    losses = [row["loss"] for row in one["curve"]]
    assert max(losses) > 1.02 * min(losses)  # else equal losses would prove little


@pytest.mark.slow
def test_two_processes_record_their_devices(curves):
    assert curves["clip"][1]["machines"][0].startswith("2 x ")
