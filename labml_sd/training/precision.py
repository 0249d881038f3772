r"""Mixed precision where the machine is fast at it.

Maps       device  ->  an autocast context
Tests      tests/training/test_precision.py
"""

import torch

from labml_sd.utilities.device import fast_bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """Products and convolutions in bfloat16, sums in float32; nothing at all where it does not pay."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))
