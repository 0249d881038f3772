r"""Attention: every position asks a question, and takes what answers it.

Maps       x [b n d], cond [b m d_cond]  ->  [b n d]
Paper      Vaswani et al. 2017, arXiv:1706.03762, eq. 1 and 3.2.2; Shazeer 2020, arXiv:2002.05202, eq. 6
Reference  CompVis ldm/modules/attention.py (attribute names kept for the checkpoint)
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
SLICE_BYTES = 64 * 2**20  # of the weights that `sliced_attention` holds at a time


def attention_probabilities(
    q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads m d"]
) -> Float[Tensor, "b heads n m"]:
    r"""How much each query listens to each key.

    $$ P = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) $$

    The softmax runs over the keys (the last axis): the weights of one query sum to 1. Without
    the root, the products would grow with the width and the softmax would choose one key and
    ignore the rest.
    """
    # The root goes into q: n * d numbers to divide, where the scores would be n * m.
    scores = torch.einsum("bhnd,bhmd->bhnm", q / q.shape[-1] ** 0.5, k)
    return scores.softmax(dim=-1)


def normal_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The formula as it stands. Holds all n * m weights in memory."""
    return torch.einsum("bhnm,bhmd->bhnd", attention_probabilities(q, k), v)


def flash_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The same sum, done tile by tile (Dao et al. 2022, arXiv:2205.14135): no n * m matrix is ever stored."""
    return F.scaled_dot_product_attention(q, k, v)


def sliced_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    """The formula for some queries at a time: no query asks for the weights of another.

    It holds `SLICE_BYTES` of weights, not n * m of them, where PyTorch has no kernel for
    `flash_attention` and would store them all.
    """
    row_bytes = (
        k.shape[:-1].numel() * k.element_size()
    )  # the weights of one query of every head
    slices = torch.split(q, max(1, SLICE_BYTES // row_bytes), dim=2)
    return torch.cat([normal_attention(some, k, v) for some in slices], dim=2)


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
ATTENTION: dict[AttentionKind, Attention] = {
    "flash": flash_attention,
    "normal": normal_attention,
    "sliced": sliced_attention,
}


class CrossAttention(nn.Module):
    """Attention with several heads: with `cond` to the prompt, without it of the picture to itself.

    The d_model features are split among the heads, so the inner width is n_heads * d_head, here
    always equal to d_model. `kind` chooses between three ways to the same numbers and can be
    changed at any time.
    """

    def __init__(self, d_model: int, d_cond: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.kind: AttentionKind = "flash"
        # No biases. One in `to_k` shifts all scores of a query alike, which the softmax does
        # not see; one in `to_v` adds the same vector everywhere, as the bias of `to_out` does.
        self.to_q = nn.Linear(d_model, d_model, bias=False)
        self.to_k = nn.Linear(d_cond, d_model, bias=False)
        self.to_v = nn.Linear(d_cond, d_model, bias=False)
        self.to_out = nn.Sequential(nn.Linear(d_model, d_model), nn.Dropout(0.0))

    def split_heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n d_head"]:
        """Neighbouring features go to one head."""
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.n_heads)

    def forward(
        self, x: Float[Tensor, "b n d"], cond: Float[Tensor, "b m d_cond"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Queries from `x`; keys and values from `cond`, or from `x` when there is no condition."""
        source = x if cond is None else cond
        q, k, v = (
            self.split_heads(y) for y in (self.to_q(x), self.to_k(source), self.to_v(source))
        )
        attended = ATTENTION[self.kind](q, k, v)
        return self.to_out(rearrange(attended, "b heads n d -> b n (heads d)"))


class GeGLU(nn.Module):
    r"""A linear layer with a gate.

    $$ y = a \cdot \mathrm{gelu}(g), \qquad [a, g] = W x + b $$

    The first half is the value, the second half the gate; the GELU is the exact one.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_in, 2 * d_out)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d2"]:
        """Project once, split, multiply."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """What a position does with what it has heard: widen by four, gate, narrow again."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GeGLU(d_model, 4 * d_model), nn.Dropout(0.0), nn.Linear(4 * d_model, d_model)
        )

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Each position for itself."""
        return self.net(x)
