"""How large everything is: on the GPU, and in a dry run, which only has to reach every line."""

from dataclasses import dataclass, field, replace

import torch

from labml_sd.config import AutoencoderConfig, ModelConfig, UNetConfig, sd_v1
from labml_sd.utilities.device import DTYPES

Cells = tuple[tuple[int, int], ...]
"""(pixels of a side, images of a batch) each."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the stages draw and time."""

    model: ModelConfig = field(default_factory=sd_v1)  # with random weights
    halves: tuple[str, ...] = ("float16", "bfloat16")  # the first is used where one is enough
    eager: Cells = ((512, 1), (512, 4), (512, 16), (768, 1), (1024, 1))
    compiled: Cells = ((512, 1), (512, 16), (1024, 1))
    rival_compiled: Cells = ((512, 1),)
    image: int = 512  # of whole images, decoding and the watch for NaN
    decoded: tuple[int, ...] = (512, 1024)
    steps: int = 30  # of whole images
    bundled_steps: int = 20  # of the bundled model's images
    samplers: tuple[str, ...] = ("dpmpp_2m", "euler_a", "ddim")
    prompts: int = 16
    prompt_batch: int = 4
    rounds: int = 6
    matrix: int = 8192  # side of the matrices that show the GPU's rate
    scenes: int = 4000  # of training
    training_steps: int | None = None  # None: as many as fit into the time left

    @property
    def half(self) -> torch.dtype:
        """The number format of all that is timed in one."""
        return DTYPES[self.halves[0]]


def small_model() -> ModelConfig:
    """SD v1 with fewer and narrower layers; prompts and heads keep their numbers."""
    unet = UNetConfig(
        channels=32, channel_multipliers=(1, 2), attention_levels=(0,), n_res_blocks=1
    )
    autoencoder = AutoencoderConfig(channels=32, n_res_blocks=1)
    text_encoder = replace(sd_v1().text_encoder, n_layers=1)
    return replace(
        sd_v1(), name="small", unet=unet, autoencoder=autoencoder, text_encoder=text_encoder
    )


FULL = Sizes()
DRY = Sizes(
    model=small_model(),
    halves=("bfloat16",),  # many CPUs compute float16 a hundred times as slowly
    eager=((64, 1), (64, 2)),
    compiled=((64, 1),),
    rival_compiled=((64, 1),),
    image=64,
    decoded=(64,),
    steps=2,
    bundled_steps=2,
    samplers=("dpmpp_2m",),
    prompts=2,
    prompt_batch=2,
    rounds=3,
    matrix=256,
    scenes=64,
    training_steps=2,
)
