"""labml_nn's networks in an interpreter of their own, started by `rival_labml.py`.

The first line of standard input is JSON: the part, the files of weights and inputs, the number
of threads. Each further line is a request (rival_requests.py). Needed here: torch and labml_nn.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import torch
from labml_nn.diffusion.stable_diffusion.model.autoencoder import Autoencoder, Decoder, Encoder
from labml_nn.diffusion.stable_diffusion.model.unet import UNetModel
from rival_requests import serve
from torch import Tensor, nn

SCALE = 0.18215


def build(part: str) -> nn.Module:
    """The part at SD v1's size, as labml_nn's own loader makes it."""
    if part == "unet":
        return UNetModel(
            in_channels=4, out_channels=4, channels=320, channel_multipliers=[1, 2, 4, 4],
            n_res_blocks=2, attention_levels=[0, 1, 2], n_heads=8, tf_layers=1, d_cond=768,
        )  # fmt: skip
    shape: dict[str, Any] = {
        "channels": 128,
        "channel_multipliers": [1, 2, 4, 4],
        "n_resnet_blocks": 2,
    }
    encoder = Encoder(z_channels=4, in_channels=3, **shape)
    decoder = Decoder(out_channels=3, z_channels=4, **shape)
    return Autoencoder(emb_channels=4, encoder=encoder, decoder=decoder, z_channels=4)


def guided_step(
    network: nn.Module, inputs: dict[str, Tensor], times: Iterator[float]
) -> Tensor:
    """The arithmetic of `get_eps` in labml_nn's samplers."""
    x, uncond, cond = inputs["x"], inputs["uncond"], inputs["cond"]
    t = x.new_full((x.shape[0],), next(times))
    eps_uncond, eps_cond = network(
        torch.cat([x] * 2), torch.cat([t] * 2), torch.cat([uncond, cond])
    ).chunk(2)
    return eps_uncond + float(inputs["scale"]) * (eps_cond - eps_uncond)


def caller(
    part: str, what: str, network: Any, inputs: dict[str, Tensor]
) -> Callable[[], Tensor]:
    """One call of the part."""
    if part == "unet":
        times = cycle(inputs["times"].tolist())
        return lambda: guided_step(network, inputs, times)
    if what == "decode":
        return lambda: network.decode(inputs["z"] / SCALE)
    return lambda: SCALE * network.encode(inputs["image"]).mean


@torch.no_grad()
def main() -> None:
    """Answer requests until the input ends."""
    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    with torch.device("meta"):
        network = build(order["part"])
    weights = torch.load(order["weights"], mmap=True, weights_only=True)
    network.load_state_dict(weights, strict=True, assign=True)
    call = caller(
        order["part"],
        order["what"],
        network.eval(),
        torch.load(order["inputs"], weights_only=True),
    )
    serve(call, sys.stdout)


if __name__ == "__main__":
    main()
