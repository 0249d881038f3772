import json

import pytest

from labml_sd.images.other_tools import invokeai

NOW = {
    "generation_mode": "txt2img",
    "positive_prompt": "a house, дом",
    "negative_prompt": "blurry",
    "width": 512,
    "height": 768,
    "seed": 5,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0,
    "steps": 30,
    "scheduler": "dpmpp_2m_k",
    "clip_skip": 1,
    "model": {"key": "k", "hash": "blake3:0", "name": "v1-5", "base": "sd-1", "type": "main"},
    "controlnets": [{"control_model": {"model_name": "canny"}, "control_weight": 0.75}],
    "loras": [{"model": {"name": "style"}, "weight": 0.8}],
    "app_version": "4.2.9",
}
BEFORE = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "model_hash": "cc6cb27103",
    "app_version": "2.3.0",
    "image": {
        "prompt": [{"prompt": "a house [blurry] at night [snow]", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 7.5,
        "height": 512,
        "width": 640,
        "seed": 5,
        "type": "txt2img",
        "sampler": "k_lms",
    },
}


def now(**changes: object):
    return invokeai.read({"invokeai_metadata": json.dumps(NOW | changes)})


def test_the_metadata_of_version_3_and_later_are_read():
    found = now()
    assert (found.tool, found.task) == ("InvokeAI", "txt2img")
    assert (found.prompt, found.negative_prompt) == ("a house, дом", "blurry")
    assert found.entries == {
        "Steps": "30",
        "Sampler": "dpmpp_2m_k",
        "CFG scale": "7.5",
        "Guidance rescale": "0",
        "Seed": "5",
        "Clip skip": "1",
        "Version": "4.2.9",
        "RNG": "CPU",
        "Size": "512x768",
        "Model": "v1-5",
        "Lora": "style: 0.8",
        "ControlNet": "canny: 0.75",
    }


def test_the_names_of_version_3_0_are_read():
    found = now(
        model={"model_name": "v1-5"}, loras=[{"lora": {"model_name": "a"}, "weight": 1}]
    )
    assert (found.entries["Model"], found.entries["Lora"]) == ("v1-5", "a: 1")


@pytest.mark.parametrize(
    "mode, task",
    [
        ("img2img", "img2img"),
        ("inpaint", "inpaint"),
        ("sdxl_txt2img", "txt2img"),
        (3, "txt2img"),
    ],
)
def test_the_mode_tells_the_task(mode, task):
    found = now(generation_mode=mode, strength=0.6)
    assert (found.task, found.entries["Denoising strength"]) == (task, "0.6")


def test_the_metadata_of_version_2_are_read():
    found = invokeai.read({"sd-metadata": json.dumps(BEFORE), "Dream": '"a boat" -s 3'})
    assert (found.tool, found.task) == ("InvokeAI", "txt2img")
    assert (found.prompt, found.negative_prompt) == ("a house  at night", "blurry, snow")
    assert found.entries == {
        "Steps": "50",
        "Sampler": "k_lms",
        "CFG scale": "7.5",
        "Seed": "5",
        "Size": "640x512",
        "Model": "stable-diffusion-1.5",
        "Model hash": "cc6cb27103",
        "Version": "2.3.0",
    }


def test_a_prompt_of_version_2_may_be_one_text():
    image = BEFORE["image"] | {"prompt": "a boat", "type": "img2img", "strength": 0.6}
    found = invokeai.read({"sd-metadata": json.dumps(BEFORE | {"image": image})})
    assert (found.prompt, found.task) == ("a boat", "img2img")
    assert found.entries["Denoising strength"] == "0.6"


def test_the_command_line_of_version_1_is_read():
    dream = '"a "red" house [snow]" -s 50 -S 5 -W 640 -H512 -C 7.5 -A k_lms -G 0.8'
    found = invokeai.read({"Dream": dream})
    assert (found.prompt, found.negative_prompt) == ('a "red" house', "snow")
    assert found.entries == {
        "Steps": "50",
        "Sampler": "k_lms",
        "CFG scale": "7.5",
        "Seed": "5",
        "Size": "640x512",
    }


def test_a_command_line_with_a_picture_is_img2img():
    found = invokeai.read({"Dream": '"a" -s 50 -I in.png -f 0.75'})
    assert (found.task, found.entries["Denoising strength"]) == ("img2img", "0.75")


def test_values_of_wrong_types_are_left_out():
    found = now(**{key: {"a": [1]} for key in NOW})
    assert (found.prompt, found.entries) == ("", {})
    found = now(loras=[3, {"model": 4}, {}], controlnets={"a": 1}, positive_prompt=["x"])
    assert found.prompt == "" and not {"Lora", "ControlNet"} & found.entries.keys()
    odd = {"image": {"prompt": [3, {"prompt": "a"}, None]}}
    assert invokeai.read({"sd-metadata": json.dumps(odd)}).prompt.strip() == "a"


@pytest.mark.parametrize(
    "texts",
    [{}, {"Dream": "no quotes -s 3"}, {"sd-metadata": "[]"}, {"invokeai_metadata": "{"}],
)
def test_a_picture_of_another_program_is_not_read(texts):
    assert invokeai.read(texts) is None


def test_long_command_lines_are_searched_once():
    for hostile in ('"' * 10**6, '"a" ' + "-s " * 300_000, '"' + "[" * 10**6 + '"'):
        invokeai.read({"Dream": hostile})
