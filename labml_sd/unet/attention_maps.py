r"""Record where each word attends, without changing the result.

Maps       a `with` block that runs the U-Net  ->  probabilities by call, block and token
Paper      Tang et al. 2022 (DAAM), arXiv:2210.04885, section 3
Tests      tests/unet/test_attention_maps.py
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labml_sd.unet.attention import CrossAttention, attention_probabilities


@dataclass(frozen=True)
class AttentionMap:
    """One cross-attention of one network call.

    `call` counts the network calls from 0 (a step of Heun's method makes two). `block` is the
    module's name, such as "input_blocks.1.1.transformer_blocks.0.attn2". The axis n runs over
    the h * w positions, row by row, and the axis m over the tokens. The weights of each
    position sum to 1. With guidance the first half of the batch is that of the negative
    prompts.
    """

    call: int
    block: str
    probabilities: Float[Tensor, "b heads n m"]


@contextmanager
def record_attention(unet: nn.Module) -> Iterator[list[AttentionMap]]:
    """Collect the maps of all network calls inside the `with` block, in float32 on the CPU.

    The probabilities are computed separately from the network's own attention, so the network's
    output is the same to the bit with and without recording.
    """
    maps: list[AttentionMap] = []
    calls = 0

    def count(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal calls
        calls += 1

    def keep(block: str, module: CrossAttention, x: Tensor, cond: Tensor) -> None:
        with torch.no_grad():
            q, k = module.split_heads(module.to_q(x)), module.split_heads(module.to_k(cond))
            maps.append(
                AttentionMap(calls, block, attention_probabilities(q.float(), k.float()).cpu())
            )

    handles = [unet.register_forward_hook(count)]
    for name, module in unet.named_modules():
        if isinstance(module, CrossAttention) and name.endswith("attn2"):
            hook = _hook(keep, name)
            handles.append(module.register_forward_pre_hook(hook))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _hook(keep: Any, name: str) -> Any:
    """Bind the block's name: a closure made in the loop would see the last name only."""

    def hook(module: CrossAttention, args: tuple[Tensor, Tensor]) -> None:
        keep(name, module, *args)

    return hook
