r"""The sampler room: from noise to a clean latent. Arithmetic only: no network, no prompt, no picture.

schedule   t -> Level(t, alpha_bar)             how much noise a time means; add_noise, predict_x0
spacing    n_steps -> times                     which of the 1000 a run visits
start      levels, strength -> levels           how much of a run a given picture goes through
noise      seeds -> noise [b c h w]             one generator an image
guidance   network, prompts -> (x, level) -> eps
blend      z, noise, mask -> (x, level) -> x    the kept area of in-painting
ddpm, ddim, dpmpp_2m                            (x, eps) at one level -> x at the next: one file each
loop       x at the first level -> z            runs them all; protocol says what it asks of a sampler
"""

# ruff: noqa: I001, RUF022 - imports and names stand in the order of the flow

from collections.abc import Callable
from difflib import get_close_matches

from labml_sd.errors import GenerationError
from labml_sd.sampler.schedule import CLEAN, Level, Schedule, add_noise, predict_x0
from labml_sd.sampler.spacing import check_steps, timesteps
from labml_sd.sampler.start import check_strength, tail
from labml_sd.sampler.noise import NoiseSource, check_seed
from labml_sd.sampler.guidance import guide, guided
from labml_sd.sampler.blend import inpaint_blend
from labml_sd.sampler.protocol import Evaluation, Sampler
from labml_sd.sampler.ddpm import DDPM, ddpm_step
from labml_sd.sampler.ddim import DDIM, ddim_step
from labml_sd.sampler.dpmpp_2m import DPMpp2M, dpmpp_2m_step
from labml_sd.sampler.loop import Step, sample

SAMPLERS: dict[str, Callable[[], Sampler]] = {"ddpm": DDPM, "ddim": DDIM, "dpmpp_2m": DPMpp2M}


def get_sampler(name_or_object: object) -> Sampler:
    """A name -> that sampler with its defaults; a sampler object passes through; else GenerationError."""
    if isinstance(name_or_object, str):
        if name_or_object in SAMPLERS:
            return SAMPLERS[name_or_object]()
        nearest = get_close_matches(name_or_object.lower(), SAMPLERS, n=1, cutoff=0.0)[0]
        raise GenerationError(
            f"unknown sampler {name_or_object!r}, did you mean {nearest!r}? There are {', '.join(SAMPLERS)}"
        )
    if isinstance(name_or_object, type) or not isinstance(name_or_object, Sampler):
        raise GenerationError(
            f"sampler is {name_or_object!r}; give one of {', '.join(SAMPLERS)}, "
            "or an object with the methods levels and step"
        )
    return name_or_object


__all__ = [
    "Schedule",
    "Level",
    "CLEAN",
    "add_noise",
    "predict_x0",
    "timesteps",
    "check_steps",
    "tail",
    "check_strength",
    "NoiseSource",
    "check_seed",
    "guide",
    "guided",
    "inpaint_blend",
    "Sampler",
    "Evaluation",
    "SAMPLERS",
    "get_sampler",
    "DDPM",
    "ddpm_step",
    "DDIM",
    "ddim_step",
    "DPMpp2M",
    "dpmpp_2m_step",
    "sample",
    "Step",
]
