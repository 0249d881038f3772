import json

from labml_sd.images.other_tools import fooocus

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8",
    "base_model_hash": "aeb7e9e689",
    "clip_skip": 2,
    "guidance_scale": 4,
    "lora_combined_1": "offset : 0.1",
    "lora_combined_2": "film : 0.25",
    "metadata_scheme": "fooocus",
    "negative_prompt": "blurry",
    "performance": "Speed",
    "prompt": "a house, дом",
    "resolution": "(1152, 896)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "5",
    "sharpness": 2,
    "steps": 30,
    "styles": "['Fooocus V2']",
    "version": "Fooocus v2.5.5",
}
SWARM = {
    "prompt": "a house",
    "negativeprompt": "blurry",
    "model": "OfficialStableDiffusion/v1-5.safetensors",
    "seed": 5,
    "steps": 20,
    "cfgscale": 7.0,
    "width": 512,
    "height": 768,
    "sampler": "dpmpp_2m",
    "scheduler": "karras",
    "loras": ["style"],
    "swarm_version": "0.9.6",
}


def swarm(**changes: object):
    return fooocus.read({"parameters": json.dumps({"sui_image_params": SWARM | changes})})


def test_the_object_of_fooocus_is_read():
    found = fooocus.read({"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"})
    assert (found.tool, found.prompt, found.negative_prompt) == (
        "Fooocus",
        "a house, дом",
        "blurry",
    )
    assert found.entries == {
        "Steps": "30",
        "Sampler": "dpmpp_2m_sde_gpu",
        "Schedule type": "karras",
        "CFG scale": "4",
        "Seed": "5",
        "Size": "1152x896",
        "Model": "juggernautXL_v8",
        "Model hash": "aeb7e9e689",
        "Clip skip": "2",
        "Styles": "['Fooocus V2']",
        "Performance": "Speed",
        "Sharpness": "2",
        "Version": "Fooocus v2.5.5",
        "Lora": "offset : 0.1, film : 0.25",
    }


def test_the_web_uis_text_of_fooocus_is_left_to_its_reader():
    assert fooocus.read({"parameters": "a house\nSteps: 1", "fooocus_scheme": "a1111"}) is None


def test_the_object_of_swarmui_is_read():
    found = swarm()
    assert (found.tool, found.task) == ("SwarmUI", "txt2img")
    assert (found.prompt, found.negative_prompt) == ("a house", "blurry")
    assert found.entries == {
        "Steps": "20",
        "Sampler": "dpmpp_2m",
        "Schedule type": "karras",
        "CFG scale": "7.0",
        "Seed": "5",
        "Size": "512x768",
        "Model": "v1-5",
        "Version": "0.9.6",
        "Lora": "style",
    }


def test_swarmui_tells_an_img2img_by_its_creativity():
    found = swarm(initimagecreativity=0.6)
    assert (found.task, found.entries["Denoising strength"]) == ("img2img", "0.6")


def test_values_of_wrong_types_are_left_out():
    found = swarm(loras={"a": 1}, model=["m"], seed=None, prompt=3.5, width={})
    assert found.prompt == "3.5"
    assert not {"Lora", "Model", "Seed", "Size"} & found.entries.keys()
    bad = {key: ["x"] for key in FOOOCUS}
    assert fooocus.read({"parameters": json.dumps(bad)}).entries == {}


def test_another_object_is_another_programs():
    assert fooocus.read({"parameters": "{}"}) is None
    assert fooocus.read({"parameters": '{"prompt": "a"}'}) is None
    assert fooocus.read({"fooocus_scheme": "fooocus"}) is None
