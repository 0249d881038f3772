r"""Time embedding: how the U-Net is told how noisy its input is.

Maps       t [b]  ->  t_emb [b 4c]
Paper      Vaswani et al. 2017, arXiv:1706.03762, section 3.5; Ho et al. 2020, arXiv:2006.11239, appendix B
Reference  CompVis ldm/modules/diffusionmodules/util.py, timestep_embedding
Tests      tests/unet/test_time_embedding.py
"""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

MAX_PERIOD = 10_000  # the slowest wave turns once in 2 pi times this many steps


def sinusoids(t: Num[Tensor, " b"], channels: int) -> Float[Tensor, "b {channels}"]:
    r"""Waves of many speeds, cosines first.

    $$ e_i(t) = \cos(t\,\omega_i), \quad e_{n+i}(t) = \sin(t\,\omega_i), \quad
       \omega_i = 10000^{-i/n}, \quad n = channels / 2 $$

    Quick waves tell neighbouring steps apart, slow waves tell early from late. `t` may be
    fractional. float64 times give float64 waves; everything else is computed in float32, since
    half precision cannot tell t = 999 from t = 998.5 once it is multiplied.
    """
    half = channels // 2
    dtype = torch.float64 if t.dtype == torch.float64 else torch.float32
    index = torch.arange(half, dtype=dtype, device=t.device)
    omega = torch.exp(-math.log(MAX_PERIOD) * index / half)
    angle = t[:, None].to(dtype) * omega[None, :]
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


def time_mlp(channels: int) -> nn.Sequential:
    """Two linear layers turn waves into something each ResBlock can use: a checkpoint's `time_embed`."""
    return nn.Sequential(
        nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels)
    )
