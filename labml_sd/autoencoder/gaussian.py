r"""Gaussian posterior: the encoder predicts a distribution of latents, not a single one.

Maps       moments [b 2z h w]  ->  samples, mean, KL divergence
Paper      Kingma and Welling 2014, arXiv:1312.6114, section 2.4 and appendix B
Reference  CompVis ldm/modules/distributions/distributions.py, DiagonalGaussianDistribution
Tests      tests/autoencoder/test_gaussian.py
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


class GaussianPosterior:
    r"""A normal distribution for every number of the latent, all independent.

    $$ q(z \mid image) = \mathcal{N}(\mu, \sigma^2) $$

    The encoder has twice as many output channels as the latent: the first half is the mean
    $\mu$, the second half $\log \sigma^2$. A logarithm may be any real number.
    """

    mean: Float[Tensor, "b z h w"]
    log_var: Float[Tensor, "b z h w"]

    def __init__(self, moments: Float[Tensor, "b z2 h w"]) -> None:
        """Split the moments. The clamp keeps $\\sigma^2$ away from zero and infinity."""
        # twice [b z h w]
        self.mean, log_var = moments.chunk(2, dim=1)
        self.log_var = log_var.clamp(-30.0, 20.0)

    @property
    def std(self) -> Float[Tensor, "b z h w"]:
        r"""Standard deviation $\sigma$."""
        return torch.exp(0.5 * self.log_var)

    def sample(self, generator: Generator) -> Float[Tensor, "b z h w"]:
        r"""Draw $z = \mu + \sigma\,\epsilon$, $\epsilon \sim \mathcal{N}(0, 1)$.

        In this form (the reparametrisation) a draw has gradients with respect to $\mu$ and
        $\sigma$. The noise comes from a CPU generator in float32, so that a seed gives the same
        draw on every device.
        """
        noise = torch.randn(
            self.mean.shape, generator=generator, dtype=torch.float32, device="cpu"
        )
        return self.mean + self.std * noise.to(self.mean)

    def mode(self) -> Float[Tensor, "b z h w"]:
        """The most likely latent, which is the mean."""
        return self.mean

    def kl(self) -> Float[Tensor, " b"]:
        r"""KL divergence from the standard normal, summed over a latent, in nats.

        $$ \mathrm{KL} = \frac{1}{2} \sum \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right) $$

        It is 0 if and only if $\mu = 0$ and $\sigma = 1$.
        """
        per_number = 0.5 * (self.mean**2 + torch.exp(self.log_var) - 1.0 - self.log_var)
        return per_number.sum(dim=(1, 2, 3))
