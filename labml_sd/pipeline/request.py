r"""What a call asks for, checked before any network runs.

Maps       model, prompt, settings, strength -> Request: prompt and seed of every picture
Tests      tests/pipeline/test_request.py
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from labml_sd.adapters import Embedding
from labml_sd.checkpoint.embeddings import load_embeddings
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
    check_seed,
    check_strength,
    get_sampler,
    tail,
)
from labml_sd.sampler.solvers.solver import Solver
from labml_sd.settings import Settings, check_settings
from labml_sd.text_encoder.tokenizer import check_prompts

MAX_PICTURES = 10_000  # of one call: more take hours, and none is returned before the last


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call, one entry per picture. Pictures of one prompt stand together."""

    settings: Settings
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    variation: Variation | None  # None: each seed's own noise
    sampler: Sampler
    levels: tuple[Level, ...]  # of a whole run, the noisiest first: one more than its steps
    guidance: Guidance
    strength: float
    embeddings: Mapping[str, Embedding]  # by every name that stands for one in a prompt

    @property
    def noise_scale(self) -> float:
        """What pure noise is multiplied by to start from it."""
        if isinstance(self.sampler, AsIn):
            return self.sampler.noise_scale(self.levels[0])
        return 1.0

    def start(self) -> tuple[Level, list[Level]]:
        """The level a picture is noised to, and the levels run on it at this strength."""
        if isinstance(self.sampler, AsIn) and self.strength > 0:
            return self.sampler.start(self.levels, self.settings.steps, self.strength)
        levels = tail(self.levels, self.strength)
        return levels[0], levels

    def hashes_of(self, i: int) -> str | None:
        """Names and hashes of the embeddings in the prompts of picture `i`, as in A1111."""
        words = f"{self.prompts[i]} {self.negative_prompts[i]}".lower()
        used = {e.name: e.hash for n, e in self.embeddings.items() if n.lower() in words}
        return ", ".join(f"{name}: {digits}" for name, digits in used.items() if digits) or None

    def settings_of(self, i: int) -> Settings:
        """The settings that draw picture `i` of the call by itself, on any model."""
        return replace(
            self.settings,
            negative_prompt=self.negative_prompts[i],
            embeddings=[_recorded(source) for source in self.settings.embeddings],
            sampler=sampler_name(get_sampler(self.settings.sampler)),
            guidance_scale=self.guidance.scale,
            seed=self.seeds[i],
            variation_seed=None if self.variation is None else self.variation.seeds[i],
            n_images=1,
        )


def make_request(
    model: LatentDiffusion,
    prompt: object,
    settings: Mapping[str, object],
    *,
    strength: object = 1.0,
    task: str = "txt2img",
) -> Request:
    """Check the arguments that all pipelines share and lay them out, one entry per picture.

    Raises `PromptError` or `GenerationError`.
    """
    asked = check_settings(settings, task)
    prompts, negatives = _paired_prompts(prompt, asked.negative_prompt)
    n_pictures = asked.n_images * len(prompts)
    if n_pictures > MAX_PICTURES:
        raise GenerationError(
            f"n_images is {quoted(asked.n_images)}: "
            f"a call draws {MAX_PICTURES:,} pictures at most"
        )
    n_layers = model.config.text_encoder.n_layers
    if asked.clip_skip > n_layers:
        raise GenerationError(
            f"clip_skip is {asked.clip_skip}: the text encoder of {model.config.name} has "
            f"{n_layers} layers"
        )
    sampler = _sampler(asked)
    variation = _variation(asked, n_pictures)
    return Request(
        settings=asked,
        prompts=tuple(p for p in prompts for _ in range(asked.n_images)),
        negative_prompts=tuple(n for n in negatives for _ in range(asked.n_images)),
        seeds=_seeds(asked.seed, n_pictures, counting=variation is None),
        variation=variation,
        sampler=sampler,
        levels=tuple(sampler.levels(model.schedule, asked.steps)),
        guidance=_guidance(asked, model.config),
        strength=check_strength(strength),
        embeddings=load_embeddings(
            asked.embeddings, model.config.text_encoder.d_model, model.config.name
        ),
    )


def check_call(model: object, on_step: object, progress: object) -> None:
    """Raise `GenerationError` for what would otherwise fail in the middle of a run."""
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


def check_size(config: ModelConfig, settings: Settings) -> tuple[int, int]:
    """(height, width) in pixels of a picture drawn from noise; the model's own by default.

    Raises `GenerationError` naming the two nearest sizes when the networks cannot make this
    one.
    """
    tall = config.image_size if settings.height is None else settings.height
    wide = config.image_size if settings.width is None else settings.width
    if tall * wide > MAX_PIXELS:
        size = f"{quoted(wide)}x{quoted(tall)}"
        raise GenerationError(
            f"size {size} is too large: at most {MAX_PIXELS:,} pixels can be drawn"
        )
    for name, side in (("height", tall), ("width", wide)):
        multiple = config.size_multiple
        if side % multiple:
            below = max(multiple, side // multiple * multiple)
            nearest = f"the nearest that work are {below} and {below + multiple}"
            raise GenerationError(f"{name} {side} is no multiple of {multiple}: {nearest}")
    return tall, wide


def sampler_name(sampler: Sampler) -> str:
    """The name under which `get_sampler` gives an equal sampler, or else the object's repr."""
    return next((name for name, make in SAMPLERS.items() if make() == sampler), repr(sampler))


def _recorded(source: object) -> object:
    """A source of embeddings as it is written into a picture."""
    if isinstance(source, tuple):
        return [str(item) for item in source]
    return source.name if isinstance(source, Embedding) else str(source)


def _paired_prompts(prompt: object, negative_prompt: object) -> tuple[list[str], list[str]]:
    """A prompt and a negative prompt for each other."""
    prompts = check_prompts(prompt, "prompt")
    negatives = check_prompts(negative_prompt, "negative_prompt")
    if isinstance(negative_prompt, str):
        negatives = negatives * len(prompts)
    if len(negatives) != len(prompts):
        raise PromptError(
            f"{len(negatives)} negative prompts for {len(prompts)} prompts: "
            "give one for all, or one for each"
        )
    return prompts, negatives


def _sampler(asked: Settings) -> Sampler:
    """The sampler, on the levels of the spacing or of the tool that was asked for."""
    if asked.compat is not None:
        return as_in(asked.compat, asked.sampler, asked.spacing)
    sampler = get_sampler(asked.sampler)
    if asked.spacing is None:
        return sampler
    if not isinstance(sampler, Solver):
        raise GenerationError(
            f"spacing is {asked.spacing!r}, and {quoted(sampler)} chooses its own levels: "
            "leave one of them out"
        )
    return replace(sampler, spacing=asked.spacing)


def _guidance(asked: Settings, config: ModelConfig) -> Guidance:
    scale = config.guidance_scale if asked.guidance_scale is None else asked.guidance_scale
    if asked.guidance_interval is None:
        return Guidance(scale, rescale=asked.guidance_rescale)
    low, high = asked.guidance_interval
    return Guidance(scale, low, high, asked.guidance_rescale)


def _seeds(seed: int | None, count: int, counting: bool) -> tuple[int, ...]:
    """Seeds of the pictures: one after the other, or the first for all."""
    first = secrets.randbelow(2**32) if seed is None else seed
    if not counting:
        return (first,) * count
    check_seed(first + count - 1)
    return tuple(range(first, first + count))


def _variation(asked: Settings, count: int) -> Variation | None:
    """Picture i moves towards the noise of variation_seed + i; None at strength 0."""
    first, strength = asked.variation_seed, asked.variation_strength
    if strength == 0:
        return None
    if first is None:
        raise GenerationError(
            f"variation_strength is {strength} without a variation_seed: give one"
        )
    check_seed(first + count - 1, "variation_seed")
    return Variation(tuple(range(first, first + count)), strength)
