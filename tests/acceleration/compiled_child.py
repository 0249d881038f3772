"""Compiles a small U-Net and prints what came out, as JSON.

In a process of its own: the shape checks that wrap every function in the tests cannot be
translated.
"""

import json

import torch
import torch._dynamo.utils

from labml_sd.acceleration.compiled import REPEATED, compile_unet, is_compiled
from labml_sd.config import UNetConfig
from labml_sd.unet import UNet
from labml_sd.unet.blocks import ResBlock

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2, 4),
    attention_levels=(),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)


@torch.no_grad()
def main():
    torch.manual_seed(0)
    given = (
        torch.randn(2, 4, 4, 8).double(),
        torch.tensor([7.0, 900.0]),
        torch.randn(2, 5, 6).double(),
    )
    answer = {}
    unet = new_unet()
    names = list(unet.state_dict())
    compiled = [is_compiled(unet)]
    compile_unet(unet, "aot_eager")
    answer["compiled"] = [*compiled, is_compiled(unet)]
    answer["same names"] = list(unet.state_dict()) == names
    answer["error"] = error(unet, given)

    graphs, unet = [], new_unet()
    answer["shapes"] = n_shapes(unet, given)
    compile_unet(unet, lambda graph, example_inputs: graphs.append(graph) or graph.forward)
    unet(*given)
    answer["graphs"] = len(graphs)
    answer["breaks"] = dict(torch._dynamo.utils.counters["graph_break"])
    for parameter in unet.parameters():
        parameter.mul_(0.9)
    answer["error with changed weights"] = error(unet, given)
    answer["graphs with changed weights"] = len(graphs)
    print(json.dumps(answer))


def new_unet():
    unet = UNet(SMALL).double()
    for parameter in unet.parameters():
        parameter.normal_(std=0.2)
    return unet


def error(unet, given):
    """Largest difference from a plain U-Net, relative to its largest number."""
    plain = UNet(SMALL).double()
    plain.load_state_dict(unet.state_dict())
    wanted = plain(*given)
    return float((unet(*given) - wanted).abs().max() / wanted.abs().max())


def n_shapes(unet, given):
    """How many different blocks there are: by class, and by what goes in and what comes out."""
    seen = set()
    blocks = [module for module in unet.modules() if isinstance(module, REPEATED)]
    handles = [
        block.register_forward_hook(
            lambda m, args, out: seen.add((type(m), args[0].shape, out.shape))
        )
        for block in blocks
    ]
    unet(*given)
    for handle in handles:
        handle.remove()
    return {
        "all": len(seen),
        "of ResBlocks": sum(kind is ResBlock for kind, *_ in seen),
        "blocks": len(blocks),
    }


if __name__ == "__main__":
    main()
