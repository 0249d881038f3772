r"""NaN and infinity between the stages of a call.

Maps       a tensor  ->  nothing, or GenerationError
Tests      tests/pipeline/test_finite.py
"""

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError


def check_finite(values: Float[Tensor, "..."], complaint: str) -> None:
    """GenerationError with that text when a value is NaN or infinite."""
    if not torch.isfinite(values).all():
        raise GenerationError(complaint)
