r"""A finished U-Net learns in-painting: it also sees the mask and what the mask leaves visible.

Maps       latents, captions, random masks  ->  UNet with 9 input channels (and its average)
Paper      Rombach et al. 2022, arXiv:2112.10752, section 4.5
Reference  Stable Diffusion v1.5 inpainting (model card): five more input channels, zero at the
           start
Tests      tests/training/tasks/test_inpainting.py
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.pipeline.inpainting_model import joined_channels
from labml_sd.sampler import NoiseSource, get_sampler, sample
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.latents import LatentSet, MaskedSet
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.progress import save_rows
from labml_sd.training.tasks.diffusion import DiffusionTask
from labml_sd.unet import UNet
from labml_sd.utilities.device import autocast

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

    def channels(self, index: Int[Tensor, " b"]) -> Float[Tensor, "b extra h w"]:
        """The mask of each scene, and the latent of its visible part."""
        visible = self.model.autoencoder.scaled(self.masked.visible[index].float())
        return joined_channels(self.masked.cells[index].float(), visible)

    def picture(self, networks: nn.Module, path: Path) -> None:
        """What some masks leave visible, and what 20 steps of DDIM paint there."""
        model, n = self.model, len(PICTURE_SCENES)
        index = torch.tensor(PICTURE_SCENES)
        channels = self.channels(index).to(model.device)
        captions = [Scene.sample(self.seed, i).caption(full=True) for i in PICTURE_SCENES]
        sampler = get_sampler("ddim")
        with torch.inference_mode(), autocast(model.device):
            cond, uncond = (
                model.encode_prompt(captions).float(),
                model.encode_prompt("").float(),
            )
            given = Conditioning(cond, uncond, channels)
            scale, kind = model.config.guidance_scale, model.config.prediction
            denoise = Denoiser(networks.eval(), given, scale, prediction=kind)
            c, h, w = self.latents.mean.shape[1:]
            noise = NoiseSource(range(n), (c, h, w), model.device).draw
            levels = sampler.levels(model.schedule, 20)
            z = sample(sampler, denoise, noise(), levels, draw=noise, progress=False)
            rows = [model.decode_latent(latent).float() for latent in (channels[:, 1:], z)]
        save_rows(rows, path)


def widen(model: LatentDiffusion) -> None:
    """Give the U-Net input channels for in-painting; at first they have no effect.

    A U-Net that has them is left as it is.
    """
    config = model.config.unet
    n = config.out_channels + 1 + model.config.autoencoder.z_channels
    if config.in_channels == n:
        return
    wide = UNet(replace(config, in_channels=n)).to(model.device)
    weights = model.unet.state_dict()
    first = weights["input_blocks.0.0.weight"]  # [width 4 3 3]
    more = first.new_zeros(first.shape[0], n - first.shape[1], 3, 3)
    wide.load_state_dict(weights | {"input_blocks.0.0.weight": torch.cat([first, more], dim=1)})
    model.unet = wide
    model.config = replace(model.config, unet=wide.config)
