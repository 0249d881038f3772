"""How much a sampler's own arithmetic adds to a step of the full-size network: at most 1%.

`python benchmarks/step_arithmetic.py`

A run with a network that costs nothing is timed on one latent of 512x512 pixels, with the
checks of the loop and guidance. Its step is compared with a guided step of the full-size U-Net,
which is measured with random weights (4 GB of memory, a minute) or given:
`--network-seconds 2.2`.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from labml_sd.config import ScheduleConfig, UNetConfig
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import (
    SAMPLERS,
    Guidance,
    NoiseSource,
    Schedule,
    get_sampler,
    sample,
)
from labml_sd.unet import UNet
from labml_sd.utilities.device import fast_bfloat16

SHAPE = (4, 64, 64)
LIMIT = 0.01


def trivial(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """A network that takes no time: it returns its input, once for each prompt."""
    return x.expand(len(c), -1, -1, -1)


def best(run: Callable[[], object], repeats: int) -> float:
    """The shortest of several times, in seconds: other load can only add to it."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def step_seconds(name: str, n_steps: int = 20, repeats: int = 5) -> float:
    """A step without the network: levels, noise, guidance with rescale, loop and step."""
    schedule, sampler, cond = (
        Schedule(ScheduleConfig()),
        get_sampler(name),
        torch.zeros(1, 77, 768),
    )
    denoise = Denoiser(trivial, Conditioning(cond, cond), Guidance(7.5, rescale=0.7))

    def run() -> None:
        draw = NoiseSource([0], SHAPE).draw
        sample(
            sampler,
            denoise,
            draw(),
            sampler.levels(schedule, n_steps),
            draw=draw,
            progress=False,
        )

    run()
    return best(run, repeats) / n_steps


@torch.inference_mode()
def network_seconds(repeats: int = 3) -> float:
    """One guided evaluation of SD v1's U-Net with random weights, in the fastest dtype."""
    dtype = torch.bfloat16 if fast_bfloat16(torch.device("cpu")) else torch.float32
    with torch.device("meta"):
        unet = UNet(UNetConfig()).to(dtype)
    unet.to_empty(device="cpu").eval()
    for parameter in unet.parameters():
        parameter.normal_(std=0.02)
    x, cond = (torch.randn(2, *s, dtype=dtype) for s in (SHAPE, (77, 768)))
    return best(lambda: unet(x, torch.full((2,), 500.0), cond), repeats)


def main() -> int:
    """Print a line for each sampler; exit code 1 if one is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--network-seconds", type=float, help="of one guided step; default: measure it"
    )
    given = parser.parse_args().network_seconds
    network = network_seconds() if given is None else given
    threads = torch.get_num_threads()
    print(f"a guided evaluation of the full-size network: {network:.2f} s, {threads} threads")
    shares = {}
    for name in SAMPLERS:
        seconds, n_asked = step_seconds(name), get_sampler(name).evaluations_per_step
        shares[name] = seconds / (n_asked * network)
        share = f"{n_asked} evaluations: {100 * shares[name]:.3f}%"
        print(f"{name:14} {1e3 * seconds:7.2f} ms a step, {share}")
    largest = max(shares, key=shares.__getitem__)
    print(f"the largest share: {100 * shares[largest]:.3f}% ({largest})")
    return int(max(shares.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
