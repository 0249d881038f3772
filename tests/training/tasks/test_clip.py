import pytest
import torch
from torch.nn import functional as F

from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.tiny.scenes import Scene
from labml_sd.training.learn_bpe import learn_bpe
from labml_sd.training.tasks.clip import ClipTask, contrastive_loss, hard_negative_loss


@pytest.fixture(scope="module")
def task(small_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, *learn_bpe((Scene.sample(0, i).caption(i) for i in range(200)), 600))
    return ClipTask(small_recipe, load_tokenizer(folder), seed=0, device=torch.device("cpu"))


@pytest.mark.holds("labml_sd.training.tasks.clip.contrastive_loss")
def test_the_loss_is_the_mean_of_both_directions():
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    rows = -torch.log_softmax(logits, dim=1).diagonal().mean()
    columns = -torch.log_softmax(logits, dim=0).diagonal().mean()
    assert contrastive_loss(logits).item() == pytest.approx(
        ((rows + columns) / 2).item(), abs=1e-12
    )


@pytest.mark.holds("labml_sd.training.tasks.clip.hard_negative_loss")
def test_the_hard_negative_loss_is_the_cross_entropy_of_the_first_column():
    logits = torch.tensor([[2.0, 0.0, 1.0], [1.0, 4.0, -1.0]], dtype=torch.float64)
    expected = -torch.log_softmax(logits, dim=1)[:, 0].mean()
    assert hard_negative_loss(logits).item() == pytest.approx(expected.item(), abs=1e-12)


def test_hard_captions_are_the_true_one_and_its_hard_negatives_in_one_wording(task):
    rows, captions = task.hard_captions(0)
    assert rows == list(range(task.recipe.n_hard_scenes))
    n = 1 + task.recipe.n_hard_negatives
    assert len(captions) == n * task.recipe.n_hard_scenes
    for k in range(task.recipe.n_hard_scenes):
        true, *wrong = captions[n * k : n * (k + 1)]
        assert true == Scene.sample(0, k).caption(seed=k, full=True)
        assert len({true, *wrong}) == n


def test_padding_that_is_cut_off_changes_nothing(task):
    ids, _ = task.batch(0, 0, 4)
    padded = F.pad(ids, (0, 77 - ids.shape[1]), value=599)
    with torch.no_grad():
        short, long = task.networks.text.pooled(ids), task.networks.text.pooled(padded)
    torch.testing.assert_close(short, long)


def test_a_picture_that_is_mirrored_is_seen_as_another(task):
    _, images = task.batch(0, 0, 4)
    with torch.no_grad():
        seen, mirrored = task.networks.image(images), task.networks.image(images.flip(-1))
    assert (seen - mirrored).abs().max() > 1e-3


def test_losses_are_a_function_of_the_step(task):
    first, again, other = (task.losses(step, 0.0)["loss"].item() for step in (3, 3, 4))
    assert first == again != other
