r"""Rows of a batch: several prompts may ask about one picture.

Maps       x [b ...]  ->  [rows ...], rows a multiple of b
Tests      tests/unet/test_rows.py
"""

import torch
from jaxtyping import Float
from torch import Tensor


def repeat_rows(x: Float[Tensor, "b *rest"], rows: int) -> Float[Tensor, "{rows} *rest"]:
    """Repeat the whole batch until it has `rows` rows: row r is `x[r % b]`. x itself where it has them.

    Raises ValueError when `rows` is not a multiple of b.
    """
    if len(x) == rows:
        return x
    if rows % len(x):
        raise ValueError(f"a batch of {len(x)} cannot be repeated to {rows} rows")
    return torch.cat([x] * (rows // len(x)))
