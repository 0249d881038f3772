import pytest

from labml_sd.pipeline.sampler_names import sampler_and_spacing, spacing_of
from labml_sd.sampler.spacing import SPACINGS
from labml_sd.settings.settings import SAMPLER_TITLES, SPACING_TITLES

NAMES = {
    # AUTOMATIC1111's web UI before version 1.9
    "DPM++ 2M Karras": ("dpmpp_2m", "karras"),
    "DPM++ SDE Karras": ("dpmpp_sde", "karras"),
    "DPM++ 2M SDE Karras": ("dpmpp_2m_sde", "karras"),
    "DPM++ 2M SDE Exponential": ("dpmpp_2m_sde", "exponential"),
    "DPM++ 3M SDE Exponential": ("dpmpp_3m_sde", "exponential"),
    "DPM++ 2S a Karras": ("dpmpp_2s_a", "karras"),
    "DPM2 Karras": ("dpm_2", "karras"),
    "DPM2 a Karras": ("dpm_2_a", "karras"),
    "LMS Karras": ("lms", "karras"),
    # and after it
    "Euler a": ("euler_a", None),
    "Euler": ("euler", None),
    "DPM++ 2M": ("dpmpp_2m", None),
    "DPM2 a": ("dpm_2_a", None),
    "UniPC": ("unipc", None),
    "PLMS": ("plms", None),
    # ComfyUI
    "euler_ancestral": ("euler_a", None),
    "dpm_2_ancestral": ("dpm_2_a", None),
    "dpmpp_2s_ancestral": ("dpmpp_2s_a", None),
    "dpmpp_2m_sde_gpu": ("dpmpp_2m_sde", None),
    "uni_pc": ("unipc", None),
    "uni_pc_bh2": ("unipc", None),
    "dpmpp_2m_karras": ("dpmpp_2m", "karras"),
    # InvokeAI
    "k_lms": ("lms", None),
    "lms_k": ("lms", "karras"),
    "dpmpp_2m_k": ("dpmpp_2m", "karras"),
    "euler_k": ("euler", "karras"),
    "kdpm_2": ("dpm_2", None),
    "kdpm_2_a_k": ("dpm_2_a", "karras"),
    "pndm": ("plms", None),
    # NovelAI
    "k_euler_ancestral": ("euler_a", None),
    "k_dpmpp_2m": ("dpmpp_2m", None),
    "k_dpm_2_ancestral": ("dpm_2_a", None),
    # none of ours
    "DPM fast": (None, None),
    "DPM++ 2M SDE Heun": (None, None),
    "DPM++ 2M SDE Heun Karras": (None, None),
    "LCM": (None, None),
    "Restart": (None, None),
    "dpmpp_2s": (None, None),
    "ddim_v3": (None, None),
    "Karras": (None, None),
    "k": (None, None),
    "": (None, None),
}


@pytest.mark.parametrize("title, ours", NAMES.items())
def test_the_names_of_other_programs(title, ours):
    assert sampler_and_spacing(title) == ours


def test_every_name_and_title_of_ours_is_its_own():
    for name, title in SAMPLER_TITLES.items():
        assert sampler_and_spacing(name) == sampler_and_spacing(title) == (name, None)
    for name, title in SPACING_TITLES.items():
        assert spacing_of(title) == name


@pytest.mark.parametrize(
    "title, ours",
    [
        ("Karras", "karras"),
        ("karras", "karras"),
        ("Exponential", "exponential"),
        ("Polyexponential", "exponential"),
        ("SGM Uniform", "trailing"),
        ("sgm_uniform", "trailing"),
        ("simple", "trailing"),
        ("Uniform", "linspace"),
        ("normal", "linspace"),
        ("native", "linspace"),
        ("DDIM", "uniform"),
        ("ddim_uniform", "uniform"),
        ("Automatic", None),
        ("Beta", None),
        ("KL Optimal", None),
        ("Align Your Steps", None),
        ("", None),
    ],
)
def test_the_schedule_types_of_other_programs(title, ours):
    assert spacing_of(title) == ours and (ours is None or ours in SPACINGS)
