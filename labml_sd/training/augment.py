r"""Blur, noise and brightness: what is read from a picture should not depend on them.

Maps       images [b 3 h w]  ->  the same pictures, changed a little
Tests      tests/training/test_augment.py
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

BLUR, NOISE, BRIGHTNESS = 5, 0.03, 0.05  # pixels; standard deviation; share


def augment(images: Float[Tensor, "b 3 h w"], draw: Generator) -> Float[Tensor, "b 3 h w"]:
    """Blur half of the pictures, add some noise, vary the brightness.

    Decoded pictures are softer than drawings, and the readings should not depend on it.
    """
    n, edge = len(images), BLUR // 2
    soft = F.avg_pool2d(F.pad(images, (edge,) * 4, mode="reflect"), BLUR, stride=1)
    share, blurred, light = torch.rand((3, n, 1, 1, 1), generator=draw)
    images = torch.lerp(images, soft, share * (blurred < 0.5))
    images = (images + 1.0) * (1.0 + BRIGHTNESS * (2.0 * light - 1.0)) - 1.0
    return images + NOISE * torch.randn(images.shape, generator=draw)
