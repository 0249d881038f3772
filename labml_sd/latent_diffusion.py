r"""Latent diffusion: the three networks and the noise schedule in one module.

Maps       prompts -> c; image <-> z; (x_t, t, c) -> eps
Paper      Rombach et al. 2022, arXiv:2112.10752, figure 3
Reference  CompVis ldm/models/diffusion/ddpm.py, LatentDiffusion
Tests      tests/test_latent_diffusion.py
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Generator, Tensor, nn

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import ModelConfig
from labml_sd.sampler.schedule import Schedule
from labml_sd.text_encoder import Chunk, CLIPTextEmbedder
from labml_sd.unet import NO_RESIDUALS, UNet, UNetResiduals


class LatentDiffusion(nn.Module):
    r"""Text encoder, U-Net, autoencoder and schedule; no logic of its own.

    The diffusion runs on the autoencoder's latents, which have 48 times fewer numbers than the
    pixels. `source` is the path or hub id that the weights were loaded from, empty if there is
    none. If `fast` is set, the pipelines use `acceleration.accelerate(model)`; the methods
    below always use these networks.
    """

    def __init__(self, config: ModelConfig, tokenizer: Any, *, source: str = "") -> None:
        super().__init__()
        self.config = config
        self.source = source
        self.weights_file: Any = None
        self.vae_file: Any = None  # of an autoencoder from another file
        self.fast = False
        self.text_encoder = CLIPTextEmbedder(config.text_encoder, tokenizer)
        self.unet = UNet(config.unet)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.schedule = Schedule(config.schedule)

    @property
    def weights_hash(self) -> str | None:
        """Ten hex digits of the file the weights came from; None if there is none to read."""
        return None if self.weights_file is None else self.weights_file.hash

    @property
    def device(self) -> torch.device:
        """The device of the U-Net's weights."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the U-Net's weights."""
        return next(self.unet.parameters()).dtype

    def encode_prompt(
        self, prompts: str | list[str], layer: int = -1
    ) -> Float[Tensor, "b n d"]:
        """Embeddings c of prompts. PromptError for anything but text; warns if one is cut.

        `layer` -1 is the last that the model uses, -2 the one before it.
        """
        return self.text_encoder(prompts, layer)

    def encode_chunks(
        self, prompts: Sequence[Sequence[Chunk]], layer: int = -1, emphasis: str = "a1111"
    ) -> list[Float[Tensor, "n d"]]:
        """The embedding of each prompt in chunks; see `CLIPTextEmbedder.encode_chunks`."""
        return self.text_encoder.encode_chunks(prompts, layer, emphasis)

    def encode_image(
        self, image: Float[Tensor, "b 3 H W"], generator: Generator | None = None
    ) -> Float[Tensor, "b z h w"]:
        """Scaled latent of images in [-1, 1]: the posterior's mean, or a sample of it."""
        return self.autoencoder.encode(image.to(self.autoencoder.quant_conv.weight), generator)

    def decode_latent(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images of scaled latents; values can exceed [-1, 1] slightly."""
        return self.autoencoder.decode(z.to(self.autoencoder.post_quant_conv.weight))

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        t: Num[Tensor, "#b"],
        c: Float[Tensor, "rows n d"],
        residuals: UNetResiduals = NO_RESIDUALS,
    ) -> Float[Tensor, "rows z h w"]:
        r"""Predicted noise $\epsilon_\theta(x_t, t, c)$, one for each row of c."""
        # without residuals, any network of (x, t, c) can take the U-Net's place
        given = () if residuals is NO_RESIDUALS else (residuals,)
        return self.unet(x, t, c, *given)
