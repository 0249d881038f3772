r"""Mixed precision where the hardware is fast at it.

Maps       device  ->  an autocast context
Tests      tests/training/test_precision.py
"""

import torch

from labml_sd.utilities.device import fast_bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16; does nothing where that is not faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))
