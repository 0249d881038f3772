r"""What a call asks for, checked before any network runs.

Maps       the arguments of a call -> Request: one prompt, negative prompt and seed per picture
Tests      tests/pipeline/test_request.py
"""

import secrets
import sys
from dataclasses import dataclass
from typing import TypeGuard

from labml_sd.config import ModelConfig
from labml_sd.errors import GenerationError, PromptError, quoted
from labml_sd.images.reading import MAX_PIXELS
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import (
    SAMPLERS,
    AsIn,
    Guidance,
    Level,
    Sampler,
    Variation,
    as_in,
    check_noise,
    check_seed,
    check_strength,
    get_sampler,
    tail,
)
from labml_sd.sampler.schedule import Schedule
from labml_sd.sampler.variation import check_variation_strength
from labml_sd.text_encoder.tokenizer import check_prompts

MAX_PICTURES = (
    10_000  # of one call: more would wait for hours, and nothing is returned before the last
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call, one entry per picture. Pictures of one prompt stand together."""

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    variation: Variation | None  # None: each seed's own noise
    noise: str  # "cpu" or "cuda": whose random numbers
    sampler: Sampler
    steps: int
    levels: tuple[
        Level, ...
    ]  # of a whole run, the noisiest first: steps + 1, with compat as many as theirs
    guidance: Guidance
    strength: float

    @property
    def compat(self) -> str | None:
        """The tool whose levels are used; None for ours."""
        return self.sampler.tool if isinstance(self.sampler, AsIn) else None

    @property
    def noise_scale(self) -> float:
        """What pure noise is multiplied by to start from it."""
        return (
            self.sampler.noise_scale(self.levels[0]) if isinstance(self.sampler, AsIn) else 1.0
        )

    def start(self) -> tuple[Level, list[Level]]:
        """The level a picture is noised to, and the levels that are run on it, as far as strength goes."""
        if isinstance(self.sampler, AsIn) and self.strength > 0:
            return self.sampler.start(self.levels, self.steps, self.strength)
        levels = tail(self.levels, self.strength)
        return levels[0], levels


def check_call(model: object, on_step: object, progress: object) -> None:
    """Raise `GenerationError` for what would else fail in the middle of a run."""
    if not isinstance(model, LatentDiffusion):
        raise GenerationError(
            f"model is of type {type(model).__name__}: give what load_model returns"
        )
    if on_step is not None and not callable(on_step):
        raise GenerationError(
            f"on_step is {quoted(on_step)}: give a function that takes a Step, or None"
        )
    if not isinstance(progress, int):
        raise GenerationError(f"progress is {quoted(progress)}: give True or False")


def make_request(
    config: ModelConfig,
    schedule: Schedule,
    *,
    prompt: object,
    negative_prompt: object,
    sampler: object,
    compat: object = None,
    steps: object,
    guidance_scale: object,
    guidance_rescale: object = 0.0,
    guidance_interval: object = None,
    seed: object,
    variation_seed: object = None,
    variation_strength: object = 0.0,
    noise: object = "cpu",
    n_images: object,
    strength: object = 1.0,
) -> Request:
    """Check the arguments that all tasks share and lay them out, one entry per picture.

    Raises `PromptError` or `GenerationError`.
    """
    prompts, negatives = _paired_prompts(prompt, negative_prompt)
    count = _whole(n_images, "n_images")
    ours = get_sampler(sampler)
    chosen = ours if compat is None else as_in(compat, sampler)
    n_steps = _whole(steps, "steps")
    if count * len(prompts) > MAX_PICTURES:
        raise GenerationError(
            f"n_images is {quoted(count)}: a call draws {MAX_PICTURES:,} pictures at most"
        )
    variation = _variation(variation_seed, variation_strength, count * len(prompts))
    scale = config.guidance_scale if guidance_scale is None else _real(guidance_scale)
    return Request(
        prompts=tuple(p for p in prompts for _ in range(count)),
        negative_prompts=tuple(n for n in negatives for _ in range(count)),
        seeds=_seeds(seed, count * len(prompts), counting=variation is None),
        variation=variation,
        noise=check_noise(noise),
        sampler=chosen,
        steps=n_steps,
        levels=tuple(chosen.levels(schedule, n_steps)),
        guidance=_guidance(scale, guidance_rescale, guidance_interval),
        strength=check_strength(strength),
    )


def check_size(config: ModelConfig, height: object, width: object) -> tuple[int, int]:
    """(height, width) in pixels of a picture drawn from nothing; the model's own where one is left out.

    Raises `GenerationError` naming the two nearest sizes when the networks cannot make this
    one.
    """
    multiple = config.size_multiple
    tall = config.image_size if height is None else _side(height, "height", multiple)
    wide = config.image_size if width is None else _side(width, "width", multiple)
    if tall * wide > MAX_PIXELS:
        limit = f"at most {MAX_PIXELS:,} pixels can be drawn"
        raise GenerationError(f"size {wide}x{tall} is too large: {limit}")
    return tall, wide


def sampler_name(sampler: Sampler) -> str:
    """The name under which `get_sampler` gives an equal sampler, else how the object writes itself."""
    if isinstance(sampler, AsIn):
        return sampler.name
    return next((name for name, make in SAMPLERS.items() if make() == sampler), repr(sampler))


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise GenerationError(f"{what} is {quoted(value)}: give a whole number, at least 1")
    return value


def _paired_prompts(prompt: object, negative_prompt: object) -> tuple[list[str], list[str]]:
    prompts = check_prompts(prompt, "prompt")
    negatives = check_prompts(negative_prompt, "negative_prompt")
    if isinstance(negative_prompt, str):
        negatives = negatives * len(prompts)
    if len(negatives) != len(prompts):
        raise PromptError(
            f"{len(negatives)} negative prompts for {len(prompts)} prompts: give one for all, or one for each"
        )
    return prompts, negatives


def _real(scale: object) -> float:
    if not _is_finite(scale):
        raise GenerationError(
            f"guidance_scale is {quoted(scale)}: give a finite number, 1 for no guidance"
        )
    return float(scale)


def _is_finite(value: object) -> TypeGuard[float | int]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # a whole number can be larger than any float


def _guidance(scale: float, rescale: object, interval: object) -> Guidance:
    if not _is_finite(rescale):
        raise GenerationError(
            f"guidance_rescale is {quoted(rescale)}: give a number from 0 (none) to 1 (in full)"
        )
    if interval is None:
        return Guidance(scale, rescale=float(rescale))
    if (
        not isinstance(interval, list | tuple)
        or len(interval) != 2
        or not all(map(_is_finite, interval))
    ):
        raise GenerationError(
            f"guidance_interval is {quoted(interval)}: "
            "give two noise levels sigma, the lower first, as in (0.3, 5)"
        )
    return Guidance(
        scale, low=float(interval[0]), high=float(interval[1]), rescale=float(rescale)
    )


def _seeds(seed: object, count: int, counting: bool) -> tuple[int, ...]:
    """Seeds of the pictures: one after the other, or the first for all."""
    first = secrets.randbelow(2**32) if seed is None else check_seed(seed)
    check_seed(first + count - 1 if counting else first)
    return tuple(range(first, first + count)) if counting else (first,) * count


def _variation(seed: object, strength: object, count: int) -> Variation | None:
    """None at strength 0, whatever the seed. Picture i of a call moves towards the noise of seed + i."""
    share = check_variation_strength(strength)
    first = None if seed is None else check_seed(seed, "variation_seed")
    if share == 0:
        return None
    if first is None:
        raise GenerationError(
            f"variation_strength is {strength} without a variation_seed: give one"
        )
    check_seed(first + count - 1, "variation_seed")
    return Variation(tuple(range(first, first + count)), share)


def _side(value: object, what: str, multiple: int) -> int:
    side = _whole(value, what)
    if side > MAX_PIXELS:
        raise GenerationError(
            f"{what} {quoted(side)} is too large: at most {MAX_PIXELS:,} pixels can be drawn"
        )
    if side % multiple:
        below = max(multiple, side // multiple * multiple)
        nearest = f"the nearest that work are {below} and {below + multiple}"
        raise GenerationError(f"{what} {side} is no multiple of {multiple}: {nearest}")
    return side
