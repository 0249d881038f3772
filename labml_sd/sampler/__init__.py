"""From noise x_T to a clean latent z: arithmetic only, without networks, prompts or pictures.

schedule    t -> Level(t, alpha_bar)           how much noise a time has; add_noise, predict_x0
spacing     n_steps -> levels                  which levels a run visits; with sigmas, between
start       levels, strength -> levels         the part of a run that changes a given picture
noise       seeds -> noise [b c h w]           one generator an image
philox      seed -> noise [c h w]              the noise of an NVIDIA GPU, on the CPU
variation   two noises -> one                  interpolated, for similar pictures
prediction  x, network's output -> (eps, x0)   for networks that predict eps, or v
guidance    two predictions, scale -> one      classifier-free guidance
blend       z, noise, mask -> (x, level) -> x  the kept area of in-painting
solvers/    x, predictions, levels -> x        one file a sampler: a pure step, and its levels
compat/     tool, name -> sampler              our steps on the levels of other tools
protocol    the types of a step                Moment, Denoise, Evaluation, StepInput, Sampler
loop        x at the first level -> z          calls the sampler's step from level to level
"""

# ruff: noqa: I001, RUF022 - imports and names stand in the order of the flow

from collections.abc import Callable
from difflib import get_close_matches

from labml_sd.errors import GenerationError, quoted
from labml_sd.sampler.schedule import CLEAN, Level, Schedule, add_noise, predict_x0
from labml_sd.sampler.spacing import check_steps, timesteps
from labml_sd.sampler.start import check_strength, tail
from labml_sd.sampler.philox import cuda_noise
from labml_sd.sampler.variation import Variation, slerp
from labml_sd.sampler.noise import NOISES, NoiseSource, check_noise, check_seed
from labml_sd.sampler.prediction import Prediction, from_eps, from_v
from labml_sd.sampler.guidance import Guidance, guide, rescale_std
from labml_sd.sampler.blend import inpaint_blend
from labml_sd.sampler.protocol import (
    Denoise,
    Evaluation,
    Moment,
    Sampler,
    StepInput,
    eps_denoiser,
)
from labml_sd.sampler.solvers.ddpm import DDPM, ddpm_step
from labml_sd.sampler.solvers.ddim import DDIM, ddim_step
from labml_sd.sampler.solvers.dpmpp_2m import DPMpp2M, dpmpp_2m_step
from labml_sd.sampler.solvers.plms import PLMS, plms_step
from labml_sd.sampler.solvers.euler import Euler, euler_step
from labml_sd.sampler.solvers.heun import Heun, heun_step
from labml_sd.sampler.solvers.dpm_2 import DPM2, dpm_2_step
from labml_sd.sampler.solvers.lms import LMS, lms_step
from labml_sd.sampler.solvers.unipc import UniPC, unic_step, unip_step
from labml_sd.sampler.solvers.euler_a import EulerA, euler_a_step
from labml_sd.sampler.solvers.dpm_2_a import DPM2A, dpm_2_a_step
from labml_sd.sampler.solvers.dpmpp_2s_a import DPMpp2SA, dpmpp_2s_a_step
from labml_sd.sampler.solvers.dpmpp_sde import DPMppSDE, dpmpp_sde_step
from labml_sd.sampler.solvers.dpmpp_2m_sde import DPMpp2MSDE, dpmpp_2m_sde_step
from labml_sd.sampler.solvers.dpmpp_3m_sde import DPMpp3MSDE, dpmpp_3m_sde_step
from labml_sd.sampler.compat.tools import TOOLS, AsIn, as_in, check_compat
from labml_sd.sampler.loop import Step, sample

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "plms": PLMS,
    "euler": Euler,
    "heun": Heun,
    "dpm_2": DPM2,
    "lms": LMS,
    "dpmpp_2m": DPMpp2M,
    "unipc": UniPC,
    "euler_a": EulerA,
    "dpm_2_a": DPM2A,
    "dpmpp_2s_a": DPMpp2SA,
    "dpmpp_sde": DPMppSDE,
    "dpmpp_2m_sde": DPMpp2MSDE,
    "dpmpp_3m_sde": DPMpp3MSDE,
}


def get_sampler(name_or_object: object) -> Sampler:
    """The sampler of a name, with its defaults; a sampler object is returned as it is."""
    if isinstance(name_or_object, str):
        if name_or_object in SAMPLERS:
            return SAMPLERS[name_or_object]()
        nearest = get_close_matches(name_or_object[:50].lower(), SAMPLERS, n=1, cutoff=0.0)[0]
        raise GenerationError(
            f"unknown sampler {quoted(name_or_object)}, did you mean {nearest!r}? "
            f"There are {', '.join(SAMPLERS)}"
        )
    if isinstance(name_or_object, type) or not isinstance(name_or_object, Sampler):
        raise GenerationError(
            f"sampler is {quoted(name_or_object)}; give one of {', '.join(SAMPLERS)}, "
            "or an object with the methods levels and step"
        )
    return name_or_object


__all__ = ["Schedule", "Level", "CLEAN", "add_noise", "predict_x0"]
__all__ += ["timesteps", "check_steps", "tail", "check_strength"]
__all__ += ["NoiseSource", "NOISES", "check_noise", "check_seed", "cuda_noise"]
__all__ += ["Variation", "slerp", "Prediction", "from_eps", "from_v"]
__all__ += ["Guidance", "guide", "rescale_std", "inpaint_blend"]
__all__ += ["Moment", "Denoise", "eps_denoiser", "Evaluation", "StepInput"]
__all__ += ["Sampler", "SAMPLERS", "get_sampler"]
__all__ += ["DDPM", "ddpm_step", "DDIM", "ddim_step", "PLMS", "plms_step"]
__all__ += ["Euler", "euler_step", "Heun", "heun_step", "DPM2", "dpm_2_step"]
__all__ += ["DPMpp2M", "dpmpp_2m_step", "LMS", "lms_step", "UniPC", "unip_step", "unic_step"]
__all__ += ["EulerA", "euler_a_step", "DPM2A", "dpm_2_a_step"]
__all__ += ["DPMpp2SA", "dpmpp_2s_a_step", "DPMppSDE", "dpmpp_sde_step"]
__all__ += ["DPMpp2MSDE", "dpmpp_2m_sde_step", "DPMpp3MSDE", "dpmpp_3m_sde_step"]
__all__ += ["TOOLS", "AsIn", "as_in", "check_compat", "sample", "Step"]
