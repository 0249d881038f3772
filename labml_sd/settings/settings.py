r"""Every setting of a call, once: its type, its default, and what is said of it.

Maps       nothing; the fields of a frozen dataclass
Reference  AUTOMATIC1111's web UI: the keys and the sampler names of the text inside a picture
Tests      tests/settings/test_settings.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import labml_sd  # "labml_sd.sampler" below is imported when an annotation is evaluated
from labml_sd.settings.kinds import (
    EMBEDDINGS,
    EMPHASIS,
    FILL,
    NOISE,
    PROMPTS,
    SAMPLER,
    SPACING,
    TOOL,
    Kind,
    interval,
    number,
    whole,
)

if TYPE_CHECKING:
    import labml_sd.sampler

MAX_SEED = 2**64 - 1  # the largest that PyTorch's generators take; ComfyUI draws from all

SAMPLER_TITLES = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "plms": "PLMS",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2s_a": "DPM++ 2S a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "unipc": "UniPC",
}

SPACING_TITLES = {  # "SGM Uniform" has the times of "trailing" before they are rounded
    "trailing": "SGM Uniform",
    "uniform": "DDIM",
    "linspace": "Uniform",
    "karras": "Karras",
    "exponential": "Exponential",
}


INPAINT = ("inpaint", "outpaint")  # the tasks with a mask


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is said of one setting."""

    name: str
    default: object
    help: str  # one line, with the unit and the range
    kind: Kind
    json_keys: tuple[str, ...]  # in a picture's exact text; several share a tuple's items
    text_keys: tuple[str, ...]  # in a picture's text for other programs
    also: tuple[str, ...] = ()  # flags of the command line, beside the one of its name
    none: str = ""  # what None stands for; without it None is refused
    off: object = None  # the value that changes nothing: it is not written into a picture
    titles: Mapping[str, str] = field(default_factory=dict)  # what values are called there
    only_titles: bool = False  # a value without a title is not read from there
    tasks: tuple[str, ...] = ()  # that take it; none named: all

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags of the command line, the main one first."""
        return ("--" + self.name.replace("_", "-"), *self.also)

    def check(self, value: object) -> Any:
        """The value that is used. Raises `GenerationError`, or `PromptError` for a prompt."""
        return None if value is None and self.none else self.kind.check(self.name, value)


def setting(default: object, help: str, kind: Kind, **more: Any) -> Any:
    """A field of `Settings`; its metadata are fields of `Setting`, the keys if not its name."""
    return field(default=default, metadata={"help": help, "kind": kind, **more})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of a call that draws. `check_settings` makes one from keyword arguments."""

    negative_prompt: str | Sequence[str] = setting(
        "",
        "what to draw away from: one text for all prompts, or one for each",
        PROMPTS,
        also=("--negative",),
        text_keys=(),  # it has a line of its own
    )
    steps: int = setting(
        20,
        "denoising steps, 1 to 1000",
        whole(1),
        also=("--ddim-steps", "--num-inference-steps"),
    )
    sampler: "str | labml_sd.sampler.Sampler" = setting(
        "dpmpp_2m",
        "sampling method: ddim, euler, euler_a, dpmpp_2m and others",
        SAMPLER,
        also=("--sampler-name",),
        titles=SAMPLER_TITLES,
    )
    spacing: str | None = setting(
        None,
        "noise levels: trailing, uniform, linspace, quadratic, karras or exponential",
        SPACING,
        also=("--scheduler", "--schedule"),
        none="the sampler's",
        text_keys=("Schedule type",),
        titles=SPACING_TITLES,
    )
    compat: str | None = setting(
        None, "noise levels as in compvis, labml, diffusers or a1111", TOOL, none="ours"
    )
    guidance_scale: float | int | None = setting(
        None,
        "weight of the prompt, 1 for no guidance",
        number("a finite number, 1 for no guidance"),
        also=("--scale", "--cfg-scale"),
        none="the model's",
        text_keys=("CFG scale",),
    )
    guidance_rescale: float | int = setting(
        0.0,
        "0 to 1: correct the contrast of a large guidance scale",
        number("a number from 0 (none) to 1 (in full)", 0, 1),
        off=0.0,
    )
    guidance_interval: tuple[float | int, float | int] | list[float | int] | None = setting(
        None,
        "guide only between two noise levels sigma, the lower first, 0.03 to 14.6",
        interval("two noise levels sigma, the lower first, as in (0.3, 5)"),
        none="all levels",
        json_keys=("guidance_low", "guidance_high"),
        text_keys=("Guidance low", "Guidance high"),
    )
    clip_skip: int = setting(
        1,
        "text layer: 1 is the model's own, 2 the one before it, and so on",
        whole(1),
        off=1,
    )
    emphasis: str = setting(
        "a1111",
        "how marks in prompts are read: a1111, no_norm, comfy, ignore or none (plain text)",
        EMPHASIS,
        off="a1111",
        titles={
            "a1111": "Original",
            "no_norm": "No norm",
            "ignore": "Ignore",
            "none": "None",
        },
    )
    embeddings: Sequence[Any] = setting(
        (),
        "embeddings for the prompts: files, folders, or in Python (name, file)",
        EMBEDDINGS,
        off=(),
        also=("--embedding",),
        text_keys=(),  # "TI hashes" has names and hashes, no files
    )
    seed: int | None = setting(
        42,
        "seed of the first picture, 0 to 2**64 - 1",
        whole(0, MAX_SEED, ", or none for a random one"),
        none="random",
    )
    variation_seed: int | None = setting(
        None,
        "seed of the noise that variation_strength goes towards, 0 to 2**64 - 1",
        whole(0, MAX_SEED),
        also=("--subseed",),
        none="no variation",
    )
    variation_strength: float | int = setting(
        0.0,
        "0 to 1: share of the way to the noise of variation_seed",
        number("a number from 0 (the seed's own noise) to 1 (the variation seed's)", 0, 1),
        also=("--subseed-strength",),
        off=0.0,
        text_keys=("Variation seed strength",),
    )
    noise: str = setting(
        "cpu",
        "whose random numbers: cpu, or cuda for those of an NVIDIA GPU",
        NOISE,
        off="cpu",
        text_keys=("RNG",),
        titles={"cuda": "NV"},
        only_titles=True,
    )
    n_images: int = setting(
        1,
        "pictures of each prompt, at least 1",
        whole(1),
        also=("--n-samples", "--batch-size"),
        json_keys=(),  # parameters are those of one picture
        text_keys=(),
    )
    height: int | None = setting(
        None,
        "height in pixels",
        whole(1),
        also=("-H",),
        none="the model's, or the picture's",
        text_keys=(),  # "Size" is both
    )
    width: int | None = setting(
        None,
        "width in pixels",
        whole(1),
        also=("-W",),
        none="the model's, or the picture's",
        text_keys=(),
    )
    fill: str = setting(
        "original",
        "what is in the hole before noise is added: original, fill, noise or nothing",
        FILL,
        off="original",
        text_keys=("Masked content",),
        titles={"noise": "latent noise", "nothing": "latent nothing"},
        tasks=INPAINT,
    )
    mask_blur: float | int = setting(
        0.0,
        "radius in pixels by which the edge of the mask is softened",
        number("a number of pixels, 0 or more", 0, 1000),
        off=0.0,
        tasks=INPAINT,
    )
    only_masked: int | None = setting(
        None,
        "work at the model's size on the part around the mask, with so many pixels beside it",
        whole(0),
        none="the whole picture",
        text_keys=("Masked area padding",),
        tasks=INPAINT,
    )


class SettingsDict(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments: `**settings: Unpack[SettingsDict]`."""

    negative_prompt: str | Sequence[str]
    steps: int
    sampler: "str | labml_sd.sampler.Sampler"
    spacing: str | None
    compat: str | None
    guidance_scale: float | int | None
    guidance_rescale: float | int
    guidance_interval: tuple[float | int, float | int] | list[float | int] | None
    clip_skip: int
    emphasis: str
    embeddings: Sequence[Any]
    seed: int | None
    variation_seed: int | None
    variation_strength: float | int
    noise: str
    n_images: int
    height: int | None
    width: int | None
    fill: str
    mask_blur: float | int
    only_masked: int | None
