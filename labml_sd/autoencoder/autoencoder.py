r"""The KL autoencoder: image to latent and back.

Maps       image [b 3 H W] in [-1, 1]  <->  z [b 4 H/8 W/8], of about unit variance
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.1
Reference  CompVis ldm/models/autoencoder.py, AutoencoderKL (attribute names of the checkpoint)
Tests      tests/autoencoder/test_autoencoder.py
"""

from jaxtyping import Float
from torch import Generator, Tensor, nn

from labml_sd.autoencoder.decoder import Decoder
from labml_sd.autoencoder.encoder import Encoder
from labml_sd.autoencoder.gaussian import GaussianPosterior
from labml_sd.config import AutoencoderConfig


class Autoencoder(nn.Module):
    r"""Encoder, decoder, and the scale of the latent.

    $$ z = s \cdot \mathrm{posterior}(image), \qquad image \approx \mathrm{decoder}(z / s) $$

    The scale $s$ (0.18215 in SD v1) is applied in this class only. The diffusion adds noise of
    variance 1, and the noise schedule is made for latents of variance about 1.

    `quant_conv` and `post_quant_conv` do not quantise. They are plain 1x1 convolutions; the
    names come from the VQ autoencoder that CompVis derived this one from.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * config.z_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.z_channels, config.z_channels, 1)

    def posterior(self, image: Float[Tensor, "b c H W"]) -> GaussianPosterior:
        """Distribution of the unscaled latent. Sides: multiples of the down-sampling factor."""
        # [b 2z H/f W/f]: mean and log-variance of each latent number
        moments = self.quant_conv(self.encoder(image))
        return GaussianPosterior(moments)

    def encode(
        self, image: Float[Tensor, "b c H W"], generator: Generator | None = None
    ) -> Float[Tensor, "b z h w"]:
        """Scaled latent: a sample of the posterior if a generator is given, else its mean."""
        posterior = self.posterior(image)
        drawn = posterior.mode() if generator is None else posterior.sample(generator)
        return self.scaled(drawn)

    def scaled(self, drawn: Float[Tensor, "b z h w"]) -> Float[Tensor, "b z h w"]:
        """The diffusion's latent for a latent of the posterior."""
        return self.config.scale_factor * drawn

    def unscaled(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b z h w"]:
        """The posterior's latent for a latent of the diffusion."""
        return z / self.config.scale_factor

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Image of a scaled latent. Values can exceed [-1, 1] slightly; nothing is clamped."""
        # [b z h w], then [b c f*h f*w]
        return self.decoder(self.post_quant_conv(self.unscaled(z)))

    def forward(self, image: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """The reconstruction from the posterior's mean."""
        return self.decode(self.encode(image))
