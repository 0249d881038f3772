import pytest
import torch

from labml_sd.errors import CheckpointError
from labml_sd.training.loop import train
from labml_sd.training.run import read_state
from labml_sd.training.tasks.autoencoder import AutoencoderTask
from labml_sd.training.tasks.decoder import DecoderTask

CPU = torch.device("cpu")


def test_the_decoder_alone_moves_and_starts_from_the_average(small_recipe, tmp_path):
    train(AutoencoderTask(small_recipe, 0, CPU), tmp_path, n_steps=3, progress=False)
    before = read_state(tmp_path / "autoencoder.pt")["average"]
    task = DecoderTask(small_recipe, tmp_path, 0, CPU)
    started = task.networks.state_dict()
    assert all(torch.equal(started[name], weight) for name, weight in before.items())
    after = train(task, tmp_path, n_steps=3, progress=False).state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"decoder", "post_quant_conv"}


def test_it_needs_the_stage_before(small_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="train the stage 'autoencoder' first"):
        DecoderTask(small_recipe, tmp_path, 0, CPU)
