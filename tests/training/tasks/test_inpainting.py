from dataclasses import replace

import pytest
import torch

from labml_sd.tiny.recipe import Recipe
from labml_sd.training.latents import LatentSet, MaskedSet
from labml_sd.training.tasks.inpainting import InpaintingTask, widen


@pytest.fixture
def sets(model):
    draw = torch.Generator().manual_seed(0)
    n, z = 6, model.config.autoencoder.z_channels
    shape = (n, z, 4, 4)
    mean, std, visible = (torch.randn(shape, generator=draw).abs() for _ in range(3))
    cells = (torch.rand((n, 1, 4, 4), generator=draw) > 0.5).float()
    return LatentSet(mean, std), MaskedSet(cells, visible)


@pytest.fixture
def recipe(model):
    base = Recipe(model=model.config)
    return replace(base, inpainting=replace(base.inpainting, batch_size=4))


def test_the_new_channels_have_no_effect_at_first(make_model):
    model = make_model().float()
    plain = make_model().float().unet
    widen(model)
    assert model.config.for_inpainting
    x, extra = torch.randn(1, 4, 4, 4), torch.randn(1, 5, 4, 4)
    t, cond = torch.tensor([7]), torch.randn(1, 5, model.config.unet.d_cond)
    with torch.no_grad():
        seen = model.unet(torch.cat([x, extra], dim=1), t, cond)
        assert torch.allclose(seen, plain(x, t, cond), atol=1e-6)


def test_a_wide_unet_is_left_as_it_is(make_model):
    model = make_model().float()
    widen(model)
    before = model.unet
    widen(model)
    assert model.unet is before


def test_the_mask_comes_first_and_then_the_scaled_visible_part(make_model, recipe, sets):
    model = make_model().float()
    task = InpaintingTask(recipe, model, *sets, seed=0)
    channels = task.channels(torch.tensor([4, 1]))
    assert torch.equal(channels[:, :1], sets[1].cells[[4, 1]])
    scaled = model.autoencoder.scaled(sets[1].visible[[4, 1]])
    assert torch.equal(channels[:, 1:], scaled)


def test_a_step_is_a_function_of_its_number_and_moves_the_new_weights(make_model, recipe, sets):
    model = make_model().float()
    task = InpaintingTask(recipe, model, *sets, seed=0)
    loss = task.losses(3, 0.0)["loss"]
    assert task.losses(3, 0.0)["loss"].item() == loss.item()
    loss.backward()
    gradient = model.unet.input_blocks[0][0].weight.grad
    assert gradient[:, 4:].abs().sum() > 0
    assert model.autoencoder.decoder.conv_in.weight.grad is None


def test_a_picture_of_the_progress_is_written(make_model, recipe, sets, tmp_path):
    task = InpaintingTask(recipe, make_model().float(), *sets, seed=0)
    task.picture(task.networks, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_at_the_last_times_x_is_pure_noise(make_model, recipe, sets):
    task = InpaintingTask(recipe, make_model().float(), *sets, seed=0)
    draw = torch.Generator().manual_seed(0)
    noise, z = (torch.randn(3, 4, 4, 4, generator=draw) for _ in range(2))
    t = torch.tensor([999, 980, 979])
    added = task.noise(noise, z, t)
    alpha_bar = task.alpha_bar[t][:, None, None, None]
    x = alpha_bar.sqrt() * z + (1 - alpha_bar).sqrt() * added
    torch.testing.assert_close(x[:2].float(), noise[:2], rtol=1e-4, atol=1e-5)
    assert torch.equal(added[2], noise[2])


def test_most_times_are_late_by_the_square_law(make_model, recipe, sets):
    task = InpaintingTask(recipe, make_model().float(), *sets, seed=0)
    n_steps = len(task.alpha_bar)
    times = task.times(10_000, torch.Generator().manual_seed(0)).double() / n_steps
    assert 0 <= times.min() and times.max() < 1
    # P(t < s T) = 1 - (1 - s)^(1/2)
    for s in (0.1, 0.5, 0.9):
        share = (times < s).double().mean().item()
        assert share == pytest.approx(1 - (1 - s) ** (1 / 2), abs=0.01)


def test_high_noise_and_cells_at_the_border_count_more(make_model, recipe, sets):
    task = InpaintingTask(recipe, make_model().float(), *sets, seed=0)
    channels = torch.zeros(2, 5, 5, 5)
    channels[0, 0, :, :2] = 1  # two columns are hidden
    channels[1, 0] = 1  # everything is
    low, high = 0.9, 0.01
    found = task.cell_weights(torch.tensor([low, high]), channels)
    assert found[0, 0, 3].tolist() == [1.0, 4.0, 4.0, 1.0, 1.0]
    torch.testing.assert_close(found[1], torch.full((1, 5, 5), 99**0.5))
    assert task.cell_weights(torch.zeros(1), channels[1:]).tolist() == [[[[15.0] * 5] * 5]]


def test_the_loss_is_weighted_by_cell(make_model, recipe, sets, monkeypatch):
    task = InpaintingTask(recipe, make_model().float(), *sets, seed=0)
    monkeypatch.setattr(task, "cell_weights", lambda alpha_bar, channels: None)
    plain = task.losses(3, 0.0)
    monkeypatch.setattr(
        task, "cell_weights", lambda alpha_bar, channels: torch.full_like(channels[:, :1], 2.0)
    )
    doubled = task.losses(3, 0.0)
    torch.testing.assert_close(doubled["loss"], 2 * plain["loss"])
    assert doubled["mse"].item() == plain["mse"].item()
