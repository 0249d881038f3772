import json

import pytest

from labml_sd.images.other_tools import novelai

COMMENT = {
    "steps": 28,
    "sampler": "k_euler_ancestral",
    "seed": 1,
    "strength": 0.69,
    "noise": 0.667,
    "scale": 11.0,
    "uc": "lowres, bad hands",
    "width": 512,
    "height": 768,
    "noise_schedule": "native",
    "sm": False,
}
TEXTS = {
    "Title": "AI generated image",
    "Description": "a house, дом",
    "Software": "NovelAI",
    "Source": "Stable Diffusion 1D44365E",
    "Comment": json.dumps(COMMENT),
}


def with_comment(**changes: object) -> dict[str, str]:
    return {**TEXTS, "Comment": json.dumps(COMMENT | changes)}


def test_description_and_comment_are_read():
    found = novelai.read(TEXTS)
    assert (found.tool, found.task) == ("NovelAI", "txt2img")
    assert (found.prompt, found.negative_prompt) == ("a house, дом", "lowres, bad hands")
    assert found.entries == {
        "Steps": "28",
        "Sampler": "k_euler_ancestral",
        "Schedule type": "native",
        "CFG scale": "11.0",
        "Seed": "1",
        "Size": "512x768",
        "Model": "Stable Diffusion 1D44365E",
    }


@pytest.mark.parametrize(
    "request_type, task",
    [
        ("PromptGenerateRequest", "txt2img"),
        ("Img2ImgRequest", "img2img"),
        ("NativeInfillingRequest", "inpaint"),
    ],
)
def test_the_request_tells_the_task_and_the_strength_is_the_tasks(request_type, task):
    found = novelai.read(with_comment(request_type=request_type))
    assert found.task == task
    assert ("Denoising strength" in found.entries) == (task != "txt2img")


def test_a_way_of_sampling_that_only_novelai_has_is_named():
    assert novelai.read(with_comment(sm=True)).entries["SMEA"] == "on"


def test_a_prompt_in_the_comment_is_read_where_there_is_no_description():
    texts = with_comment(prompt="a boat")
    del texts["Description"]
    assert novelai.read(texts).prompt == "a boat"


@pytest.mark.parametrize(
    "change", [{"Software": "Photoshop"}, {"Comment": "a photo"}, {"Comment": "[]"}]
)
def test_the_comment_of_another_program_is_not_read(change):
    assert novelai.read({**TEXTS, **change}) is None


def test_values_of_wrong_types_are_left_out():
    found = novelai.read(with_comment(uc=["a"], steps=None, seed={}, width=[1], scale=True))
    assert found.negative_prompt == ""
    assert found.entries.keys() == {"Sampler", "Schedule type", "Model"}
