import hashlib

import pytest
import torch

from labml_sd.checkpoint import load_model
from labml_sd.errors import CheckpointError
from labml_sd.interrogator.tower_file import load_tower
from labml_sd.training.loop import train
from labml_sd.training.stages import TOWER, train_stage
from labml_sd.training.tasks.image_tower import ImageTowerTask, candidates_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny", dtype="float32")


@pytest.fixture
def make_task(tiny, small_recipe, tmp_path):
    return lambda: ImageTowerTask(small_recipe, tiny, tmp_path, 8, 0, CPU, progress=False)


def digest(module):
    parts = [w.detach().numpy().tobytes() for w in module.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.holds("labml_sd.training.tasks.image_tower.candidates_loss")
def test_the_loss_is_the_cross_entropy_of_the_right_candidate():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0], [1.0, 4.0, -1.0, 0.5]], dtype=torch.float64)
    truth = [0, 2]
    expected = -sum(
        (logits[i, t].exp() / logits[i].exp().sum()).log() for i, t in enumerate(truth)
    )
    found = candidates_loss(logits, torch.tensor(truth))
    assert found.item() == pytest.approx(expected.item() / 2, abs=1e-12)


def test_the_text_transformer_stays_as_it_is_and_all_the_rest_learns(
    tiny, small_recipe, tmp_path
):
    before = digest(tiny)
    train_stage(
        "image_tower", small_recipe, tmp_path, seed=0, device=CPU, progress=False, init=tiny
    )
    assert digest(tiny) == before
    trained = load_tower(tmp_path / TOWER, tiny.text_encoder.transformer)
    torch.manual_seed(0)
    first = ImageTowerTask(small_recipe, tiny, tmp_path, 8, 0, CPU, progress=False).networks
    weights = dict(trained.named_parameters())
    still = [
        name
        for name, weight in first.named_parameters()
        if torch.equal(weight.half().float(), weights[name])
    ]
    assert still == []
    assert not any("transformer" in name for name in weights)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(make_task, tmp_path):
    whole = make_task()
    train(whole, tmp_path / "whole", n_steps=4, progress=False)
    half = make_task()
    train(half, tmp_path / "half", n_steps=4, progress=False)
    resumed = make_task()

    class Stop(Exception):
        pass

    losses = resumed.losses

    def stopping(step, progress):
        if step == 2:
            raise Stop
        return losses(step, progress)

    resumed.losses = stopping
    with pytest.raises(Stop):
        train(resumed, tmp_path / "resumed", n_steps=4, progress=False)
    again = make_task()
    train(again, tmp_path / "resumed", progress=False)
    assert digest(again.networks) == digest(whole.networks) == digest(half.networks)


def test_losses_are_a_function_of_the_step(make_task):
    task = make_task()
    first, again, other = (task.losses(step, 0.0)["loss"].item() for step in (3, 3, 4))
    assert first == again != other


def test_a_scene_is_drawn_in_another_way_each_time(make_task):
    task = make_task()
    task.vectors = task.vectors[:1]  # one scene only
    _, images = task.batch(0)
    assert (images[0] - images[1]).abs().max() > 0.3


def test_it_learns_to_find_the_captions_of_a_few_scenes(make_task, tmp_path):
    task = make_task()
    before = task.losses(0, 0.0)["loss"].item()
    train(task, tmp_path / "run", n_steps=60, progress=False)
    after = [task.losses(step, 1.0)["loss"].item() for step in range(100, 104)]
    assert sum(after) / 4 < 0.7 * before


def test_a_model_is_needed(small_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="train the stage 'diffusion' first"):
        train_stage("image_tower", small_recipe, tmp_path, seed=0, device=CPU, progress=False)
