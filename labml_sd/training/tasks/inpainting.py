r"""A finished U-Net learns in-painting: it also sees the mask and what the mask leaves visible.

Maps       latents, captions, random masks  ->  UNet with 9 input channels (and its average)
Paper      Rombach et al. 2022, arXiv:2112.10752, section 4.5; Mou et al. 2023,
           arXiv:2302.08453, section 3.4 (the times)
Reference  Stable Diffusion v1.5 inpainting (model card): five more input channels, zero at the
           start
Tests      tests/training/tasks/test_inpainting.py
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from labml_sd.config import inpainting
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.inpainting_model import joined_channels
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.latents import LatentSet, MaskedSet
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_rows
from labml_sd.training.tasks.diffusion import DiffusionTask, strata
from labml_sd.unet import UNet

PURE_FROM = 0.98  # of all times: from here on x is pure noise
AT_BORDER = 4.0  # weight of the loss in cells with a neighbour beyond the border of the mask
PICTURE_SCENES = range(6)  # of the training set


class InpaintingTask(DiffusionTask):
    """As `DiffusionTask`; beside the noisy latent, the mask and the visible picture's."""

    name = "inpainting"

    def __init__(
        self,
        recipe: Recipe,
        model: LatentDiffusion,
        latents: LatentSet,
        masked: MaskedSet,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        """Scene i of `latents` is hidden by mask i of `masked`. Widens the U-Net of `model`."""
        widen(model)
        super().__init__(
            replace(recipe, diffusion=recipe.inpainting), model, latents, seed, processes
        )
        self.masked = masked

    def times(self, n: int, draw: Generator) -> Int[Tensor, " n"]:
        r"""Random times, most of them late: $t = (1 - u^2)\,T$ with uniform u.

        At high noise a picture's sky and ground are decided, and the loss says little of it.
        T2I-Adapter takes $u^3$, which leaves fewer times for edges that meet at the mask.
        """
        n_steps = len(self.alpha_bar)
        u = strata(n, draw) / n
        return ((1 - u**2) * n_steps).long().clamp(max=n_steps - 1)

    def noise(
        self,
        noise: Float[Tensor, "b c h w"],
        z: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c h w"]:
        r"""At the last times, the noise with which x is `noise` alone.

        A run starts from pure noise, which has no trace of the visible part. From
        $x = \sqrt{\bar\alpha}\, z + \sqrt{1 - \bar\alpha}\, \epsilon$ follows the $\epsilon$
        for an x that has none of z. So the network learns to take sky and ground from what is
        visible.
        """
        alpha_bar = self.alpha_bar[t][:, None, None, None]
        without_z = (noise - alpha_bar.sqrt() * z) / (1 - alpha_bar).sqrt()
        is_pure = t >= PURE_FROM * len(self.alpha_bar)
        return torch.where(is_pure[:, None, None, None], without_z.to(noise), noise)

    def channels(self, index: Int[Tensor, " b"]) -> Float[Tensor, "b extra h w"]:
        """The mask of each scene, and the latent of its visible part."""
        visible = self.model.autoencoder.scaled(self.masked.visible[index].float())
        return joined_channels(self.masked.cells[index].float(), visible)

    def cell_weights(
        self, alpha_bar: Float[Tensor, " b"], channels: Float[Tensor, "b extra h w"] | None
    ) -> Float[Tensor, "b 1 h w"]:
        r"""$\max(1, \sigma)$ with $\sigma^2 = 1 / \mathrm{SNR}$; at the border 4 times that.

        At high noise the errors are small numbers, and yet they decide where an object stands
        and what sky is beside the hole. With this factor all noise levels have about equal
        parts of the loss. It is at most 15: a schedule may end with an SNR of 0.
        """
        assert channels is not None
        cells = channels[:, :1]
        borders = F.max_pool2d(cells, 3, 1, 1) + F.max_pool2d(-cells, 3, 1, 1)  # 0 or 1
        sigma = ((1 - alpha_bar) / alpha_bar).sqrt().to(cells)
        return sigma.clamp(1.0, 15.0)[:, None, None, None] * (1 + (AT_BORDER - 1) * borders)

    def picture(self, networks: nn.Module, path: Path) -> None:
        """What some masks leave visible, and what 20 steps of DDIM paint there."""
        channels = self.channels(torch.tensor(PICTURE_SCENES)).to(self.model.device)
        captions = [Scene.sample(self.seed, i).caption(full=True) for i in PICTURE_SCENES]
        with torch.inference_mode():
            visible = self.model.decode_latent(channels[:, 1:])
        save_rows([visible, self.drawn(networks, captions, 0, channels)], path)


def widen(model: LatentDiffusion) -> None:
    """Give the U-Net input channels for in-painting; at first they have no effect.

    A U-Net that has them is left as it is.
    """
    if model.config.for_inpainting:
        return
    model.config = inpainting(model.config)
    wide = UNet(model.config.unet).to(model.device)
    weights = model.unet.state_dict()
    first = weights["input_blocks.0.0.weight"]  # [width 4 3 3]
    more = first.new_zeros(first.shape[0], wide.config.in_channels - first.shape[1], 3, 3)
    wide.load_state_dict(weights | {"input_blocks.0.0.weight": torch.cat([first, more], dim=1)})
    model.unet = wide
