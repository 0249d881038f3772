"""What the entries of other programs become, and what is said of those that become nothing."""

import pytest

from labml_sd.errors import GenerationError
from labml_sd.images.other_tools.written import Written
from labml_sd.pipeline.entries import settings_of, unused_entries
from labml_sd.pipeline.parameters import parse_text
from labml_sd.pipeline.request import make_request
from labml_sd.sampler import as_in

BEGIN = "a house\nSteps: 20"


def settings(entries: str, *names: str) -> tuple[object, ...]:
    found = parse_text(f"{BEGIN}, Seed: 1, CFG scale: 7, {entries}").settings
    return tuple(found.get(name) for name in names)


@pytest.mark.parametrize(
    "entries, sampler, spacing",
    [
        ("Sampler: DPM++ 2M, Schedule type: Karras", "dpmpp_2m", "karras"),
        ("Sampler: DPM++ 2M, Schedule type: Exponential", "dpmpp_2m", "exponential"),
        ("Sampler: Euler a, Schedule type: SGM Uniform", "euler_a", "trailing"),
        ("Sampler: Euler a, Schedule type: Uniform", "euler_a", "linspace"),
        ("Sampler: DPM++ 2M, Schedule type: Automatic", "dpmpp_2m", None),
        ("Sampler: DPM++ 2M, Schedule type: Beta", "dpmpp_2m", None),
        # before version 1.9: in the sampler's name, or else even in time
        ("Sampler: DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("Sampler: DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "exponential"),
        ("Sampler: DPM++ 2M", "dpmpp_2m", "linspace"),
        ("Sampler: Euler a", "euler_a", "linspace"),
        # samplers with one list of levels, whatever the schedule type
        ("Sampler: DDIM, Schedule type: Karras", "ddim", None),
        ("Sampler: UniPC", "unipc", None),
    ],
)
def test_a_web_uis_sampler_runs_on_the_levels_that_it_ran_on(model, entries, sampler, spacing):
    found = settings(entries, "sampler", "spacing", "compat", "noise")
    assert found == (sampler, spacing, "a1111", "cuda")
    drawn = parse_text(f"{BEGIN}, Seed: 1, CFG scale: 7, {entries}")
    levels = as_in("a1111", sampler, spacing).levels(model.schedule, 20)
    assert list(make_request(model, drawn.prompt, drawn.settings).levels) == levels


def test_levels_that_the_tool_cannot_choose_are_taken_without_it():
    found = settings("Sampler: Euler, Schedule type: DDIM", "sampler", "spacing", "compat")
    assert found == ("euler", "uniform", None)


@pytest.mark.parametrize(
    "rng, noise", [("", "cuda"), ("GPU", "cuda"), ("NV", "cuda"), ("CPU", "cpu")]
)
def test_a_web_ui_draws_the_noise_of_a_gpu_unless_it_says_otherwise(rng, noise):
    entries = f"Sampler: Euler a, RNG: {rng}" if rng else "Sampler: Euler a"
    assert settings(entries, "noise") == (noise,)


def test_a_sampler_that_is_not_ours_keeps_its_name_and_is_refused_by_it(model):
    drawn = parse_text(f"{BEGIN}, Seed: 1, Sampler: DPM fast")
    assert drawn.settings == {
        "negative_prompt": "",
        "steps": 20,
        "seed": 1,
        "sampler": "DPM fast",
    }
    with pytest.raises(GenerationError, match="unknown sampler 'DPM fast', did you mean"):
        make_request(model, drawn.prompt, drawn.settings)


def test_our_own_text_says_what_it_said():
    ours = "Sampler: Euler a, Version: labml_sd 0.1.0"
    assert settings(ours, "sampler", "spacing", "compat", "noise") == (
        "euler_a",
        None,
        None,
        None,
    )


@pytest.mark.parametrize("tool", ["ComfyUI", "InvokeAI", "NovelAI", "Fooocus", "SwarmUI"])
def test_the_samplers_and_schedules_of_other_programs_become_ours(tool):
    entries = {
        "Sampler": "dpmpp_2m_sde_gpu",
        "Schedule type": "karras",
        "RNG": "CPU",
        "Size": "64x48",
    }
    written = Written(tool=tool, prompt="a", negative_prompt="b", entries=entries)
    assert settings_of(written) == {
        "sampler": "dpmpp_2m_sde",
        "spacing": "karras",
        "noise": "cpu",
        "negative_prompt": "b",
        "width": 64,
        "height": 48,
        **({"emphasis": "comfy"} if tool == "ComfyUI" else {}),
    }
    assert unused_entries(written) == {}


UNUSED = {
    "Clip skip: 2": {},
    "Clip skip: 1": {},
    "ENSD: 31337": {"ENSD": "31337"},
    "Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent, Denoising strength: 0.7": {
        "Hires upscale": "2",
        "Hires steps": "10",
        "Hires upscaler": "Latent",
        "Denoising strength": "0.7",
    },
    "Denoising strength: 0": {},  # the HTTP interface writes it always
    'Lora hashes: "a: 1", TI hashes: "b: 2", VAE: x.pt, VAE hash: 12': {
        "Lora hashes": "a: 1",
        "TI hashes": "b: 2",
        "VAE": "x.pt",
        "VAE hash": "12",
    },
    "Schedule type: Beta": {"Schedule type": "Beta"},
    "Schedule type: Karras, RNG: NV, Size: 8x8, Model: m, Model hash: 1, Version: v1": {},
    'ControlNet 0: "Module: canny"': {"ControlNet 0": "Module: canny"},
}


@pytest.mark.parametrize("entries, unused", UNUSED.items())
def test_what_is_not_done_is_named(entries, unused):
    assert parse_text(f"{BEGIN}, Seed: 1, Sampler: Euler, {entries}").unused == unused


def test_a_strength_that_is_used_is_not_named():
    drawn = parse_text(f"{BEGIN}, Seed: 1, Denoising strength: 0.5, Init image hash: 1")
    assert (drawn.task, drawn.strength, drawn.unused) == ("img2img", 0.5, {})
    drawn = parse_text(f"{BEGIN}, Seed: 1, Denoising strength: 0.5")
    assert (drawn.task, drawn.strength) == ("txt2img", None)
    assert drawn.unused == {"Denoising strength": "0.5"}
