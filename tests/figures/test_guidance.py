import numpy as np
import pytest
import torch
from pictures import pixels, where

from labml_sd.figures import doubled_batch, guidance_arrows, guided_samples
from labml_sd.figures.guidance import GUIDED, WITH, WITHOUT

MODES = {"A": torch.tensor([[0.0, 2.0, 0.2]]), "B": torch.tensor([[0.0, -2.0, 0.2]])}


def test_the_half_without_words_stands_above_the_half_with_them():
    page = pixels(doubled_batch(*torch.zeros(4, 2, 4, 8, 8)))
    assert where(page, WITHOUT)[:, 0].mean() < where(page, WITH)[:, 0].mean()
    assert where(page, GUIDED)[:, 1].min() > where(page, WITH)[:, 1].max()


def test_the_doubled_batch_shows_each_latent_in_its_place():
    x, eps_uncond, eps_cond, eps = torch.zeros(4, 1, 4, 8, 8)
    eps_cond[:] = 1.0  # the only red one
    page = pixels(doubled_batch(x, eps_uncond, eps_cond, eps))
    red, call = where(page, "#67001F"), where(page, "#F3F1EC")
    assert red[:, 1].min() > call[:, 1].max()  # an answer stands right of the call
    assert red[:, 0].mean() > call[:, 0].mean()  # and that of the prompt in the lower half


@pytest.mark.parametrize("scale", [2.0, 4.0])
def test_the_guided_arrow_goes_as_far_past_as_the_scale_says(scale):
    point, flat, up = (
        torch.tensor([[0.0, 0.0]]),
        torch.tensor([[0.5, 0.0]]),
        torch.tensor([[0.5, 0.4]]),
    )
    page = pixels(guidance_arrows(point, flat, up, scale, MODES))
    page = page[page.shape[0] // 8 :]  # without the legend
    origin = where(page, WITHOUT)[:, 0].mean()  # the flat arrow
    tips = [origin - where(page, colour)[:, 0].min() for colour in (WITH, GUIDED)]
    assert tips[1] / tips[0] == pytest.approx(scale, rel=0.15)


def test_clouds_stand_on_common_axes_with_every_ring_inside():
    points = {
        "low": torch.tensor([[0.0, -2.0]]).expand(50, 2),
        "high": torch.tensor([[0.0, 2.0]]).expand(50, 2),
    }
    page = pixels(guided_samples(points, MODES))
    halves = page[:, : page.shape[1] // 2], page[:, page.shape[1] // 2 :]
    green = [
        np.argwhere((h[..., 1] > h[..., 0] + 40) & (h[..., 1] > h[..., 2] + 20)) for h in halves
    ]
    assert green[0][:, 0].mean() > green[1][:, 0].mean() + 60
