r"""Image <-> latent.

blocks.py       ResNet block, attention block, down- and up-sampling
encoder.py      image [b 3 H W] -> moments [b 2z H/f W/f]
gaussian.py     moments [b 2z h w] -> samples, mean, KL divergence
decoder.py      latent [b z h w] -> image [b 3 f*h f*w]
autoencoder.py  encoder, posterior and decoder together, with the scale of the latent
"""

from labml_sd.autoencoder.autoencoder import Autoencoder
from labml_sd.autoencoder.gaussian import GaussianPosterior

__all__ = ["Autoencoder", "GaussianPosterior"]
