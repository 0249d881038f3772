r"""Mixed precision where the machine is fast at it.

Room       training, called by the three loops
Maps       device  ->  an autocast context
See        tests/training/test_precision.py
"""

import torch


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products have hardware of their own. Without it they are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(
        torch.cpu.get_capabilities().get("amx_bf16") or torch.cpu.get_capabilities().get("avx512_bf16")
    )


def autocast(device: torch.device) -> torch.autocast:
    """Products and convolutions in bfloat16, sums in float32; nothing at all where it does not pay."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))
