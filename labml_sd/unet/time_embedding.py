r"""Time embedding: tells the U-Net how noisy its input is.

Maps       t [b]  ->  t_emb [b 4c]
Paper      Vaswani et al. 2017, arXiv:1706.03762, section 3.5
           Ho et al. 2020, arXiv:2006.11239, appendix B
Reference  CompVis ldm/modules/diffusionmodules/util.py, timestep_embedding
Tests      tests/unet/test_time_embedding.py
"""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

MAX_PERIOD = 10_000  # the lowest frequency has a period of 2 pi times this many steps


def sinusoids(t: Num[Tensor, " b"], channels: int) -> Float[Tensor, "b {channels}"]:
    r"""Cosines and sines of t at frequencies from 1 down to 1/10000, the cosines first.

    $$ e_i(t) = \cos(t\,\omega_i), \quad e_{n+i}(t) = \sin(t\,\omega_i), \quad
       \omega_i = 10000^{-i/n}, \quad n = channels / 2 $$

    High frequencies tell neighbouring steps apart, low frequencies tell early from late. `t`
    may be fractional. The result is float64 for float64 times, otherwise float32: half
    precision cannot tell t = 999 from t = 998.5.
    """
    half = channels // 2
    dtype = torch.float64 if t.dtype == torch.float64 else torch.float32
    index = torch.arange(half, dtype=dtype, device=t.device)
    # [n]: geometric from 1 to almost 1/10000
    omega = torch.exp(-math.log(MAX_PERIOD) * index / half)
    # [b n]: one angle for each time and frequency
    angle = t[:, None].to(dtype) * omega[None, :]
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


def time_mlp(channels: int) -> nn.Sequential:
    """Two linear layers [b c] -> [b 4c]. The checkpoint calls them `time_embed`."""
    return nn.Sequential(
        nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels)
    )
