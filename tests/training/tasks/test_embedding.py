import pytest
import torch
from PIL import Image

from labml_sd.checkpoint.tokenizer_files import CLIP_TOKENIZER
from labml_sd.errors import PromptError
from labml_sd.text_encoder import load_tokenizer
from labml_sd.tiny.recipe import DiffusionRecipe
from labml_sd.training.latents import LatentSet
from labml_sd.training.loop import train
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.tasks.embedding import (
    TEMPLATES,
    EmbeddingTask,
    check_templates,
    default_rate,
    known_templates,
    start_from,
)

RECIPE = DiffusionRecipe(
    n_steps=4,
    batch_size=4,
    learning_rate=1e-2,
    restarts=(),
    weight_decay=0.0,
    ema_decay=0.0,
    snr_gamma=0.0,
)


@pytest.fixture
def latents(model):
    draw = torch.Generator().manual_seed(0)
    z = model.config.autoencoder.z_channels
    return LatentSet(*torch.randn((2, 5, z, 4, 4), generator=draw).abs())


@pytest.fixture
def make_task(make_model, latents):
    def make(n=2, processes=ALONE, **more):
        model = make_model().float()
        start = start_from(model, "<toy>", "r", n)
        recipe = DiffusionRecipe(**{**vars(RECIPE), **more})
        return EmbeddingTask(recipe, model, latents, start, ("a {}", "{} at it"), 0, processes)

    return make


def test_only_the_vectors_move_bit_for_bit(make_task, make_model, tmp_path):
    task = make_task()
    train(task, tmp_path, n_steps=4, progress=False)
    before, after = make_model().float().state_dict(), task.model.state_dict()
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(parameter.grad is None for parameter in task.model.parameters())
    assert [name for name, _ in task.networks.named_parameters()] == ["vectors"]
    moved = (task.learned.vectors - task.start.vectors).abs().amax(dim=1)
    assert (moved > 1e-3).all()  # both of them


def test_the_start_is_kept(make_task, tmp_path):
    task = make_task()
    given = task.start.vectors.clone()
    train(task, tmp_path, n_steps=2, progress=False)
    assert torch.equal(task.start.vectors, given)


def test_two_vectors_that_start_alike_become_different(make_task, tmp_path):
    task = make_task()
    train(task, tmp_path, n_steps=3, progress=False)
    first, second = task.learned.vectors
    assert not torch.allclose(first, second)


@pytest.mark.slow
def test_a_stopped_run_ends_as_an_unbroken_one(make_task, tmp_path):
    whole, halves = make_task(), make_task()
    train(whole, tmp_path / "whole", n_steps=4, progress=False)
    train(halves, tmp_path / "halves", n_steps=4, progress=False, picture_every=1e9)
    again = make_task()
    stopped = make_task()

    def stop(step, progress):
        if step == 2:
            raise KeyboardInterrupt
        return EmbeddingTask.losses(stopped, step, progress)

    stopped.losses = stop
    with pytest.raises(KeyboardInterrupt):
        train(stopped, tmp_path / "again", n_steps=4, progress=False)
    train(again, tmp_path / "again", n_steps=4, progress=False)
    assert torch.equal(again.learned.vectors, whole.learned.vectors)
    assert torch.equal(halves.learned.vectors, whole.learned.vectors)


def test_the_loss_falls_towards_what_the_vectors_can_do(make_task):
    task = make_task(batch_size=16)
    optimizer = torch.optim.Adam(task.networks.parameters(), lr=3e-2)
    with torch.no_grad():
        first = task.losses(0, 0.0)["loss"].item()
    for _ in range(12):  # always the same batch
        task.losses(0, 0.0)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert task.losses(0, 0.0)["loss"].item() < first


def test_the_gradient_is_that_of_finite_differences(make_task, monkeypatch):
    monkeypatch.setattr("labml_sd.utilities.device.fast_bfloat16", lambda device: False)
    task = make_task(n=1)
    vectors = task.networks.get_parameter("vectors")
    task.losses(5, 0.0)["loss"].backward()
    direction = vectors.grad / vectors.grad.norm()
    step = 1e-2

    def at(offset):
        with torch.no_grad():
            vectors.add_(direction, alpha=offset)
            value = task.losses(5, 0.0)["loss"].item()
            vectors.sub_(direction, alpha=offset)
        return value

    slope = (at(step) - at(-step)) / (2 * step)
    assert slope == pytest.approx(vectors.grad.norm().item(), rel=0.05)


def test_the_latent_is_drawn_anew_at_every_step(make_task):
    task = make_task()
    first, second = (task.losses(step, 0.0)["loss"].item() for step in (0, 1))
    assert first != second
    assert task.losses(0, 0.0)["loss"].item() == first


def test_processes_share_the_captions_of_a_step(make_task):
    index = torch.arange(8)
    parts = [
        make_task(processes=Processes(rank, 2)).captions(
            index, 0, torch.Generator().manual_seed(3)
        )
        for rank in (0, 1)
    ]
    whole = make_task().captions(index, 0, torch.Generator().manual_seed(3))
    assert [*parts[0], *parts[1]] == whole
    assert set(whole) == {"a <toy>", "<toy> at it"}


def test_the_vectors_stand_in_the_place_of_the_word(make_task):
    task = make_task()
    # two copies of the embedding of "r": the prompt with the letter twice
    (found,) = task.encoded(["a <toy> at it"])
    assert torch.equal(found.detach(), task.model.encode_prompt("a r r at it")[0])


def test_its_picture_shows_what_is_given_and_what_is_drawn(make_task, tmp_path):
    task = make_task()
    task.picture(task.networks, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (5 * 32, 2 * 32)


@pytest.mark.parametrize(
    ("templates", "message"),
    [(["a photo"], "expected one {}"), (["{} {}"], "expected one {}"), ([], "no templates")],
)
def test_templates_without_a_place_for_the_word_are_refused(templates, message):
    with pytest.raises(PromptError, match=message):
        check_templates(templates)


def test_a_model_is_given_only_captions_of_its_own_words(model):
    check_templates(TEMPLATES)
    assert known_templates(model.text_encoder.tokenizer) == ("a {}",)


def test_clip_knows_all_templates():
    assert known_templates(load_tokenizer(CLIP_TOKENIZER)) == TEMPLATES


def test_the_rate_is_in_proportion_to_the_token_embeddings(make_model):
    encoder = make_model().text_encoder
    first = default_rate(encoder)
    encoder.transformer.embeddings.token_embedding.weight.mul_(3.0)
    assert default_rate(encoder) == pytest.approx(3 * first)


def test_a_name_that_is_not_found_in_a_prompt_is_refused(model):
    with pytest.raises(PromptError, match="cannot be the name"):
        start_from(model, " ", "r")
    with pytest.raises(PromptError, match="76 vectors"):
        start_from(model, "<toy>", "r", 76)
