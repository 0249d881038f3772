r"""Stage 2: the decoder is fine-tuned; the encoder, and so every latent, stays as it is.

Maps       scenes, a trained Autoencoder  ->  the same encoder with a better decoder
Reference  stabilityai/sd-vae-ft-mse (model card): SD's decoder, fine-tuned in the same way
Tests      tests/training/tasks/test_decoder.py

A U-Net only works on the latents it was trained on, so a change of the encoder means training
the U-Net again. The decoder can change at any time: only the final picture depends on it.
"""

from dataclasses import replace
from pathlib import Path

import torch

from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import Recipe
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import load_average
from labml_sd.training.tasks.autoencoder import AutoencoderTask


class DecoderTask(AutoencoderTask):
    """The autoencoder's loss with a frozen encoder, which makes a step a third cheaper."""

    name = "decoder"

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        seed: int,
        device: torch.device,
        processes: Processes = ALONE,
        init: LatentDiffusion | None = None,
    ) -> None:
        """Start from that of `init`, or from the averaged autoencoder in `folder`.

        Raises CheckpointError if `folder` has none that fits.
        """
        super().__init__(replace(recipe, autoencoder=recipe.decoder), seed, device, processes)
        if init is None:
            load_average(self.autoencoder, folder, "autoencoder")
        else:
            self.autoencoder.load_state_dict(init.autoencoder.state_dict())
        self.autoencoder.encoder.requires_grad_(False)
        self.autoencoder.quant_conv.requires_grad_(False)
