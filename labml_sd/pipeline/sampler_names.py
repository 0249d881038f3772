r"""What other programs call samplers and spacings of noise levels, and which of ours they are.

Maps       "DPM++ 2M Karras" -> ("dpmpp_2m", "karras"); "SGM Uniform" -> "trailing"
Reference  AUTOMATIC1111 modules/sd_samplers_kdiffusion.py, sd_schedulers.py; ComfyUI
           comfy/samplers.py; InvokeAI's schedulers; NovelAI's names
Tests      tests/pipeline/test_sampler_names.py
"""

import re

from labml_sd.settings.settings import SAMPLER_TITLES, SPACING_TITLES

AUTOMATIC = "automatic"  # each sampler has its own


def _plain(name: str) -> str:
    """ "dpmpp2sa" of "DPM++ 2S a" and of "dpmpp_2s_ancestral"."""
    letters = name.lower().replace("+", "p").replace("ancestral", "a")
    return re.sub(r"[^a-z0-9]", "", letters).removeprefix("k").removesuffix("gpu")


_SAMPLERS = {
    **{_plain(title): name for name, title in SAMPLER_TITLES.items()},
    **{_plain(name): name for name in SAMPLER_TITLES},
    "pndm": "plms",
    "unipcbh2": "unipc",
}
_SPACINGS = {
    **{_plain(title): name for name, title in SPACING_TITLES.items()},
    _plain("polyexponential"): "exponential",  # with rho 1, as all of these programs have it
    _plain("simple"): "trailing",
    _plain("normal"): "linspace",
    _plain("native"): "linspace",
    _plain("ddim_uniform"): "uniform",
}
# InvokeAI marks Karras' levels by "_k".
_ENDS = {"karras": "karras", "exponential": "exponential", "k": "karras"}


def sampler_and_spacing(title: str) -> tuple[str | None, str | None]:
    """Our sampler, and the spacing that its name ends in; None for what we do not have."""
    plain = _plain(title)
    for end, spacing in _ENDS.items():
        if plain.endswith(end) and plain.removesuffix(end) in _SAMPLERS:
            return _SAMPLERS[plain.removesuffix(end)], spacing
    return _SAMPLERS.get(plain), None


def spacing_of(title: str) -> str | None:
    """Our spacing of a schedule type; None for one that we do not have, and for `AUTOMATIC`."""
    return _SPACINGS.get(_plain(title))
