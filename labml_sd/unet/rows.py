r"""Repeat a batch, so that several prompts can share the same latents.

Maps       x [b ...]  ->  [rows ...], rows a multiple of b
Tests      tests/unet/test_rows.py
"""

import torch
from jaxtyping import Float
from torch import Tensor


def repeat_rows(x: Float[Tensor, "b *rest"], rows: int) -> Float[Tensor, "{rows} *rest"]:
    """Repeat the whole batch until it has `rows` rows: row r of the result is `x[r % b]`.

    Returns x itself if b is `rows`. Raises ValueError if `rows` is not a multiple of b.
    """
    if len(x) == rows:
        return x
    if rows % len(x):
        raise ValueError(f"{rows} rows are not a multiple of the batch size {len(x)}")
    return torch.cat([x] * (rows // len(x)))
