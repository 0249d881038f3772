import pytest
import torch

from labml_sd.tiny.recipe import AutoencoderRecipe
from labml_sd.training.tasks.autoencoder import (
    AutoencoderTask,
    autoencoder_loss,
    crop,
    draw_corners,
    edge_error,
    psnr,
)


def test_losses_are_a_function_of_the_step(small_recipe):
    task = AutoencoderTask(small_recipe, seed=0, device=torch.device("cpu"))
    first, again, other = (task.losses(step, 0.0)["loss"].item() for step in (3, 3, 4))
    assert first == again != other


def test_whole_pictures_are_learnt_at_the_end(small_recipe, monkeypatch):
    task = AutoencoderTask(small_recipe, seed=0, device=torch.device("cpu"))
    sizes = []
    seen = task.autoencoder.posterior
    monkeypatch.setattr(
        task.autoencoder, "posterior", lambda x: sizes.append(x.shape[-1]) or seen(x)
    )
    task.losses(0, 0.0)
    task.losses(0, 0.99)
    assert sizes == [small_recipe.autoencoder.crop, small_recipe.model.image_size]


@pytest.mark.holds("labml_sd.training.tasks.autoencoder.autoencoder_loss")
def test_the_loss_is_the_sum_it_says():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2, 3, 4, 4, generator=draw, dtype=torch.float64).unbind()
    recipe = AutoencoderRecipe(edge_weight=0.5, mse_weight=3.0, kl_weight=0.01)
    e = x - y
    across, down = e[..., :, 1:] - e[..., :, :-1], e[..., 1:, :] - e[..., :-1, :]
    expected = (
        e.abs().mean()
        + 0.5 * (across.abs().mean() + down.abs().mean())
        + 3.0 * (e**2).mean()
        + 0.07
    )
    kl = torch.tensor(7.0, dtype=torch.float64)
    torch.testing.assert_close(autoencoder_loss(x, y, kl, recipe), expected)


def test_a_busy_crop_is_taken_where_something_is():
    image = torch.zeros(3, 32, 32)
    image[:, :6, :6] = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(1)
    busy = [float(crop(image, draw_corners(24, 1.0, draw), 8).std()) > 0 for _ in range(60)]
    free = [float(crop(image, draw_corners(24, 0.0, draw), 8).std()) > 0 for _ in range(60)]
    assert sum(busy) > 1.5 * sum(free)


def test_edge_error_sees_edges_and_no_flat_shift():
    x = torch.zeros(1, 3, 4, 4)
    assert edge_error(x, x + 0.5).item() == 0
    y = x.clone()
    y[..., 2:] = 1.0
    assert edge_error(x, y).item() == pytest.approx(1 / 3)


def test_psnr_of_a_known_error():
    assert psnr(torch.tensor(0.04)).item() == pytest.approx(20.0)
