import pytest
import torch

from labml_sd.config import tiny
from labml_sd.sampler import Level, add_noise, from_v
from labml_sd.training.tasks.diffusion import (
    diffusion_loss,
    min_snr_weight,
    stratified_times,
    v_of,
    zero_outputs,
)
from labml_sd.unet import UNet


@pytest.mark.holds("labml_sd.training.tasks.diffusion.min_snr_weight")
def test_weights_are_min_snr_over_snr():
    alpha_bar = torch.tensor([0.999, 0.9, 0.5, 0.01], dtype=torch.float64)
    snr = alpha_bar / (1 - alpha_bar)
    expected = torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(min_snr_weight(alpha_bar, 5.0), expected)
    assert min_snr_weight(alpha_bar, 5.0)[-1].item() == 1.0


def test_the_weight_of_v_weighs_the_clean_latent_as_that_of_eps_does():
    # An error d of x0 is an error sqrt(SNR) d of eps, and sqrt(SNR + 1) d of v.
    alpha_bar = torch.tensor([0.999, 0.9, 0.5, 0.01], dtype=torch.float64)
    snr = alpha_bar / (1 - alpha_bar)
    of_eps, of_v = (min_snr_weight(alpha_bar, 5.0, kind) for kind in ("eps", "v"))
    torch.testing.assert_close(of_eps * snr, of_v * (snr + 1))
    torch.testing.assert_close(of_v * (snr + 1), snr.clamp(max=5))


@pytest.mark.holds("labml_sd.training.tasks.diffusion.v_of")
def test_what_v_prediction_learns_is_read_back_as_eps_and_x0():
    draw = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 1, 4, 3, 3, generator=draw, dtype=torch.float64)
    for level in (Level(t=1.0, alpha_bar=0.99), Level(t=9.0, alpha_bar=0.1)):
        alpha_bar = torch.full((1, 1, 1, 1), level.alpha_bar, dtype=torch.float64)
        x = add_noise(z, noise, level)
        found = from_v(x, v_of(z, noise, alpha_bar), level)
        torch.testing.assert_close(found.eps, noise)
        torch.testing.assert_close(found.x0, z)


def test_the_loss_weighs_the_error_of_each_latent_by_its_time():
    eps, noise = (
        torch.zeros(2, 4, 3, 3),
        torch.stack([torch.full((4, 3, 3), v) for v in (2.0, 3.0)]),
    )
    alpha_bar = torch.tensor([0.95, 0.5])  # SNR 19 and 1
    expected = (5 / 19 * 4 + 9) / 2
    torch.testing.assert_close(
        diffusion_loss(eps, noise, alpha_bar, 5.0), torch.tensor(expected)
    )


@pytest.mark.holds("labml_sd.training.tasks.diffusion.diffusion_loss")
def test_the_loss_is_its_equation_on_any_answer():
    draw = torch.Generator().manual_seed(0)
    eps, noise = torch.randn(2, 3, 4, 5, 6, generator=draw, dtype=torch.float64)
    alpha_bar = torch.tensor([0.97, 0.9, 0.2], dtype=torch.float64)
    weights = [min(a / (1 - a), 5.0) / (a / (1 - a)) for a in alpha_bar.tolist()]
    squares = [((e - n) ** 2).sum() / (4 * 5 * 6) for e, n in zip(eps, noise, strict=True)]
    expected = sum(w * s for w, s in zip(weights, squares, strict=True)) / 3
    torch.testing.assert_close(diffusion_loss(eps, noise, alpha_bar, 5.0), expected)


def test_a_weight_multiplies_the_square_error_of_a_cell():
    eps, noise = torch.zeros(2, 4, 2, 2), torch.ones(2, 4, 2, 2)
    noise[:, :, 0, 0] = 3.0
    weights = torch.ones(2, 1, 2, 2)
    weights[1, :, 0, 0] = 7.0
    loss = diffusion_loss(eps, noise, torch.tensor([0.95, 0.5]), 5.0, cell_weights=weights)
    expected = (5 / 19 * (9 + 3) / 4 + (7 * 9 + 3) / 4) / 2
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_gamma_zero_weighs_all_equally():
    assert min_snr_weight(torch.tensor([0.9, 0.1]), 0.0).tolist() == [1.0, 1.0]


def test_times_are_spread_over_the_whole_schedule():
    t = stratified_times(10, 1000, torch.Generator().manual_seed(0))
    assert (t // 100).tolist() == list(range(10))


def test_a_new_unet_predicts_zero_and_its_blocks_are_identities():
    torch.manual_seed(0)
    unet = UNet(tiny().unet)
    zero_outputs(unet)
    x, cond = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 128)
    with torch.no_grad():
        assert unet(x, torch.tensor([7]), cond).abs().max().item() == 0
        block = unet.input_blocks[1]
        h = torch.randn(1, 64, 8, 8)
        t_emb = torch.randn(1, 256)
        assert torch.equal(block(h, t_emb, cond), h)
