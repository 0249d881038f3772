"""Room: image <-> latent.

gaussian.py     moments [b 2z h w] -> samples, mean, KL
blocks.py       ResNet block, attention block, down- and up-sampling
encoder.py      image [b 3 H W] -> moments [b 2z h w]
decoder.py      latent [b z h w] -> image [b 3 H W]
autoencoder.py  the two together, and the scale of the latent
"""

from labml_sd.autoencoder.autoencoder import Autoencoder
from labml_sd.autoencoder.gaussian import GaussianPosterior

__all__ = ["Autoencoder", "GaussianPosterior"]
