r"""Attention: every query takes a mean of the values, weighted by how well their keys match.

Maps       x [b n d], cond [b m d_cond]  ->  [b n d]
Paper      Vaswani et al. 2017, arXiv:1706.03762, eq. 1 and section 3.2.2
           Shazeer 2020, arXiv:2002.05202, eq. 6
Reference  CompVis ldm/modules/attention.py (attribute names kept)
Tests      tests/unet/test_attention.py
"""

from collections.abc import Callable
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

AttentionKind = Literal["flash", "normal", "sliced"]
SLICE_BYTES = 64 * 2**20  # of attention weights that `sliced_attention` stores at a time


def attention_probabilities(
    q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads m d"]
) -> Float[Tensor, "b heads n m"]:
    r"""How much each query attends to each key.

    $$ P = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) $$

    The softmax runs over the keys (the last axis), so the weights of one query sum to 1.
    Without the division by the root, the scores would grow with d, and the softmax would put
    almost all weight on one key.
    """
    # Scores of SD v2 exceed 65504, the largest number of float16: they are float32.
    exact = torch.float32 if q.dtype == torch.float16 else q.dtype
    # Dividing q takes n * d divisions; dividing the scores would take n * m.
    # [b heads n m]: a score for each query and key
    scores = torch.einsum("bhnd,bhmd->bhnm", q.to(exact) / q.shape[-1] ** 0.5, k.to(exact))
    return scores.softmax(dim=-1).to(q.dtype)


def normal_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The formula, step by step. Stores all n * m attention weights."""
    # [b heads n d]: for each query the mean of the values under its weights
    return torch.einsum("bhnm,bhmd->bhnd", attention_probabilities(q, k), v)


def flash_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The same, without storing n * m weights (Dao et al. 2022, arXiv:2205.14135)."""
    return F.scaled_dot_product_attention(q, k, v)


def sliced_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The formula for some queries at a time: queries do not depend on one another.

    Stores `SLICE_BYTES` of weights at a time. It is for devices where PyTorch has no kernel for
    `flash_attention`, which then stores all n * m of them.
    """
    # the bytes of the weights of one query: [b heads m]
    row_bytes = k.shape[:-1].numel() * k.element_size()
    slices = torch.split(q, max(1, SLICE_BYTES // row_bytes), dim=2)
    return torch.cat([normal_attention(some, k, v) for some in slices], dim=2)


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
ATTENTION: dict[AttentionKind, Attention] = {
    "flash": flash_attention,
    "normal": normal_attention,
    "sliced": sliced_attention,
}


class CrossAttention(nn.Module):
    """Multi-head attention: cross-attention to `cond`, or self-attention without it.

    The d_model features are split among the heads, so d_model = n_heads * d_head. `kind`
    chooses one of three implementations in `ATTENTION`, which agree up to rounding; it can be
    changed at any time.
    """

    def __init__(self, d_model: int, d_cond: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.kind: AttentionKind = "flash"
        # No biases: one in `to_k` would add the same to all scores of a query, and the softmax
        # cancels that; one in `to_v` would add a constant, as the bias of `to_out` does.
        self.to_q = nn.Linear(d_model, d_model, bias=False)
        self.to_k = nn.Linear(d_cond, d_model, bias=False)
        self.to_v = nn.Linear(d_cond, d_model, bias=False)
        self.to_out = nn.Sequential(nn.Linear(d_model, d_model), nn.Dropout(0.0))

    def split_heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n d_head"]:
        """Split the features: the first d_head go to head 0, the next to head 1, and so on."""
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.n_heads)

    def forward(
        self, x: Float[Tensor, "b n d"], cond: Float[Tensor, "b m d_cond"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Queries come from `x`; keys and values from `cond`, or without it from `x`."""
        source = x if cond is None else cond
        # q [b heads n d_head], k and v [b heads m d_head]
        q, k, v = (
            self.split_heads(y) for y in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        # [b heads n d_head]
        attended = ATTENTION[self.kind](q, k, v)
        # [b n d]: the heads side by side again, then mixed by a linear layer
        return self.to_out(rearrange(attended, "b heads n d -> b n (heads d)"))


class GeGLU(nn.Module):
    r"""A linear layer whose output is multiplied with a gate.

    $$ y = a \cdot \mathrm{gelu}(g), \qquad [a, g] = W x + b $$

    The first half of the outputs is the value a, the second half the gate g. The GELU is the
    exact one, not its tanh approximation.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_in, 2 * d_out)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d2"]:
        """One projection to [b n 2d2], split into value and gate."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """A layer with gate to four times the width, and a linear layer back."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GeGLU(d_model, 4 * d_model), nn.Dropout(0.0), nn.Linear(4 * d_model, d_model)
        )

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Each position on its own."""
        return self.net(x)
