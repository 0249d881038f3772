"""Compiles a small U-Net on a device, and prints how far it is from the plain one, as JSON.

`python compiled_child.py DEVICE BACKEND`; in a process of its own, because the shape checks
that wrap every function in the tests cannot be compiled.
"""

import copy
import json
import sys

import torch

from labml_sd import offload
from labml_sd.acceleration import accelerate
from labml_sd.acceleration.compiled import GraphedUNet, compile_unet
from labml_sd.config import UNetConfig
from labml_sd.offload import on_device
from labml_sd.unet import UNet

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2),
    attention_levels=(0,),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)


@torch.no_grad()
def main(device, backend):
    torch.manual_seed(0)
    unet = UNet(SMALL).to(device).eval()
    for parameter in unet.parameters():
        parameter.normal_(std=0.2)
    plain = copy.deepcopy(unet)
    compile_unet(unet, backend)
    given = [inputs(device, images, width) for images, width in ((1, 8), (2, 8), (1, 16))]
    answer = {"graphed": isinstance(accelerate(unet), GraphedUNet)}
    answer["error"] = error(unet, plain, given)
    for weight, same in zip(unet.parameters(), plain.parameters(), strict=True):
        weight.mul_(0.9)
        same.mul_(0.9)
    answer["error with changed weights"] = error(unet, plain, given)
    moved = {name: weight.clone() for name, weight in unet.state_dict().items()}
    unet.load_state_dict(moved, assign=True)
    answer["error with moved weights"] = error(unet, plain, given)
    unet.cpu()
    for _ in range(2):
        with on_device(unet, torch.device(device)):
            answer["error when offloaded"] = error(unet, plain, given, offload.accelerated)
    print(json.dumps(answer))


def inputs(device, images, width):
    x, cond = torch.randn(images, 4, 8, width), torch.randn(2 * images, 5, 6)
    return x.to(device), cond.to(device)


def error(unet, plain, given, faster=accelerate):
    """The largest difference; each graph is replayed with other inputs than it recorded."""
    network, largest = faster(unet), 0.0
    for x, cond in given:
        for time in (900.0, 3.5):
            t = torch.tensor([time], device=x.device)
            wanted = plain(x, t, cond)
            off = (network(x, t, cond) - wanted).abs().max() / wanted.abs().max()
            largest, x = max(largest, float(off)), x.flip(-1)
    return largest


if __name__ == "__main__":
    main(*sys.argv[1:])
