"""What each stage should cost on an H100, from the ledger of operations.

Operations are counted. Rates are published ones, of SD v1.5 at 512 pixels and batch 1 in
float16 on an H100: 54.5 steps a second eager with diffusers, 104.6 compiled with stable-fast
(the README of chengzeyi/stable-fast). What is no arithmetic, such as starting a process, is
assumed; the names in capitals say how much.
"""

import math
from dataclasses import dataclass
from functools import cache

import ledger

from gpu.context import Context
from gpu.sizes import FULL, Cells
from gpu.steps import EAGER_RIVALS, MOST_CALLS, READING

PEAK = (
    790e12  # operations a second: a dense product of matrices in float16, measured on an H100
)
STEP = 1.607e12  # operations of the published step
EAGER, COMPILED = 54.5 * STEP, 104.6 * STEP
NO_TENSOR_CORES = 50e12  # float32 without TF32

START = 9.0  # a process: imports, the GPU's context
BUILD = 3.0  # a random SD v1, and diffusers' networks on its weights
TESTS = 35.0  # starting four workers and collecting; the tests compute next to nothing
SMALL_STEP = 0.012  # a guided step of the bundled model: the time to launch its kernels
CPU_IMAGE = 1.5  # an image of the bundled model on 16 cores
BLOCK_SHAPES = 18  # 14 of ResBlocks and 4 of transformer blocks: each is compiled
CACHED_BLOCK = 0.5  # to take one from the cache of compiled code
GRAPH = 2.0  # warming up and recording
OFFLOADED = 0.5  # to bring all networks of SD v1 to the GPU: 2.1 GB
THEIRS_CACHED = 15.0  # their whole U-Net from the cache


@dataclass(frozen=True)
class Cost:
    """Operations, and seconds for them and for all else."""

    operations: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Both."""
        return Cost(self.operations + other.operations, self.seconds + other.seconds)


@cache
def step(pixels: int, images: int) -> float:
    """Operations of a guided step of SD v1."""
    return float(ledger.unet(pixels, 2 * images).total)


def computing(operations: float, rate: float) -> Cost:
    """Arithmetic."""
    return Cost(operations, operations / rate)


def other(seconds: float) -> Cost:
    """Time in which nothing is multiplied."""
    return Cost(seconds=seconds)


def cells(which: Cells, contenders: int, rate: float) -> Cost:
    """Timing these cells, as steps.py does."""
    total = Cost()
    for pixels, images in which:
        seconds = step(pixels, images) / rate
        calls = min(MOST_CALLS, math.ceil(READING / seconds))
        n_steps = contenders * (4 + (FULL.rounds + 1) * calls)
        total += computing(n_steps * step(pixels, images), rate)
    return total


def environment() -> Cost:
    """Products of matrices in three formats."""
    product = 20 * 2.0 * FULL.matrix**3
    n = FULL.rounds + 2
    return (
        other(START)
        + computing(2 * n * product, PEAK)
        + computing(6 * product, NO_TENSOR_CORES)
    )


def images() -> Cost:
    """Three jobs; the CPU's images, and four formats of the GPU's."""
    n = 3 * len(FULL.samplers)
    return other(START + n * CPU_IMAGE + 4 * n * FULL.bundled_steps * SMALL_STEP)


def eager() -> Cost:
    """Two formats; in the first ours is timed without accelerate() too."""
    contenders = 2 * (1 + len(EAGER_RIVALS)) + 1
    return other(START + 2 * BUILD) + cells(FULL.eager, contenders, EAGER)


def compiled(which: Cells, contenders: int) -> Cost:
    """Blocks were compiled beside the first stages: they come from the cache."""
    made = len(which) * (BLOCK_SHAPES * CACHED_BLOCK + GRAPH)
    return other(START + BUILD + made) + cells(which, contenders, COMPILED)


def whole_image() -> float:
    """Operations from the prompt to pixels."""
    image = FULL.steps * step(FULL.image, 1) + float(ledger.decode(FULL.image).total)
    return image + float(ledger.text(2).total)


def whole() -> Cost:
    """Whole images of three contenders, and compiled; decoding of four contenders."""
    image = whole_image()
    eager_images = computing((1 + len(EAGER_RIVALS)) * FULL.rounds * image, EAGER)
    compiled_images = computing(FULL.rounds * image, COMPILED)
    decoded = sum(float(ledger.decode(pixels).total) for pixels in FULL.decoded)
    making = other(START + 3 * BUILD + BLOCK_SHAPES * CACHED_BLOCK + GRAPH)
    return making + eager_images + compiled_images + computing(4 * FULL.rounds * decoded, EAGER)


def finite() -> Cost:
    """The prompts with both models."""
    steps = FULL.prompts * FULL.bundled_steps
    images = computing(steps * step(FULL.image, 1), EAGER)
    return other(START + BUILD + steps / FULL.prompt_batch * SMALL_STEP) + images


def offload() -> Cost:
    """Whole images of one model in two places."""
    images = computing(2 * FULL.rounds * whole_image(), EAGER)
    return other(START + BUILD + (FULL.rounds + 1) * OFFLOADED) + images


def costs() -> dict[str, Cost]:
    """By stage. Training takes what is left."""
    return {
        "environment": environment(),
        "tests": other(TESTS),
        "images": images(),
        "waiting": other(START + 2 * 3 * 16 * 2 * 4 * SMALL_STEP),
        "eager": eager(),
        "compiled": compiled(FULL.compiled, 1),
        "rival": compiled(FULL.rival_compiled, 2) + other(THEIRS_CACHED),
        "whole": whole(),
        "finite": finite(),
        "offload": offload(),
    }


def measure(context: Context) -> None:
    """One finding for each stage; the page has them in its table of stages."""
    for name, cost in costs().items():
        context.record(
            "estimate",
            stage=name,
            tflop=cost.operations / 1e12,
            seconds_at_peak=cost.operations / PEAK,
            seconds=cost.seconds,
        )
