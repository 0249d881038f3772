import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labml_sd.images.other_tools import comfyui
from labml_sd.images.other_tools.comfyui import MAX_NODES

SAMPLER = {
    "seed": 5,
    "steps": 20,
    "cfg": 8.0,
    "sampler_name": "dpmpp_2m",
    "scheduler": "karras",
    "denoise": 1.0,
    "model": ["4", 0],
    "positive": ["6", 0],
    "negative": ["7", 0],
    "latent_image": ["5", 0],
}
BASIC = {  # ComfyUI's own example
    "3": ("KSampler", SAMPLER),
    "4": ("CheckpointLoaderSimple", {"ckpt_name": "sd15\\v1-5.safetensors"}),
    "5": ("EmptyLatentImage", {"width": 512, "height": 768, "batch_size": 1}),
    "6": ("CLIPTextEncode", {"text": "a house, дом", "clip": ["4", 1]}),
    "7": ("CLIPTextEncode", {"text": "blurry", "clip": ["4", 1]}),
    "8": ("VAEDecode", {"samples": ["3", 0], "vae": ["4", 2]}),
    "9": ("SaveImage", {"filename_prefix": "ComfyUI", "images": ["8", 0]}),
}
ENTRIES = {
    "Steps": "20",
    "Sampler": "dpmpp_2m",
    "Schedule type": "karras",
    "CFG scale": "8.0",
    "Seed": "5",
    "RNG": "CPU",
    "Size": "512x768",
    "Model": "v1-5",
}


def read(nodes: dict[str, tuple[str, dict[str, object]]]):
    graph = {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}
    return comfyui.read({"prompt": json.dumps(graph)})


def changed(**nodes: object):
    """The basic graph with inputs of the sampler changed, or nodes added: n10=("Class", {})."""
    own = {name: value for name, value in nodes.items() if name in SAMPLER}
    added = {name[1:]: value for name, value in nodes.items() if name not in SAMPLER}
    return read({**BASIC, "3": ("KSampler", SAMPLER | own), **added})


def test_the_sampler_its_prompts_model_and_size_are_read():
    found = read(BASIC)
    assert (found.tool, found.task) == ("ComfyUI", "txt2img")
    assert (found.prompt, found.negative_prompt) == ("a house, дом", "blurry")
    assert found.entries == ENTRIES


def test_the_order_of_the_nodes_does_not_matter():
    assert read(dict(reversed(BASIC.items()))) == read(BASIC)


def test_loras_controlnets_and_other_models_are_named():
    found = changed(
        model=["10", 0],
        positive=["12", 0],
        negative=["12", 1],
        n10=(
            "LoraLoader",
            {"lora_name": "a.safetensors", "strength_model": 0.8, "model": ["11", 0]},
        ),
        n11=(
            "LoraLoader",
            {"lora_name": "b.safetensors", "strength_model": 1, "model": ["4", 0]},
        ),
        n12=(
            "ControlNetApplyAdvanced",
            {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["13", 0]},
        ),
        n13=("ControlNetLoader", {"control_net_name": "canny.pth"}),
        n6=("CLIPTextEncode", {"text": "a boat", "clip": ["14", 0]}),
        n14=("CLIPSetLastLayer", {"stop_at_clip_layer": -2, "clip": ["4", 1]}),
    )
    assert (found.prompt, found.negative_prompt) == ("a boat", "blurry")
    assert found.entries == ENTRIES | {
        "Lora": "a.safetensors: 0.8, b.safetensors: 1",
        "ControlNet": "canny.pth",
        "Clip skip": "2",
    }


def test_a_prompt_may_come_from_another_node():
    found = changed(
        n6=("CLIPTextEncode", {"text": ["10", 0], "clip": ["4", 1]}),
        n10=("StringConstant", {"string": "a boat"}),
    )
    assert found.prompt == "a boat"


def test_numbers_may_come_from_other_nodes():
    found = changed(
        seed=["10", 0],
        steps=["11", 0],
        n10=("Seed (rgthree)", {"seed": 9}),
        n11=("Reroute", {"int": ["12", 0]}),
        n12=("PrimitiveInt", {"value": 33}),
        n5=("EmptyLatentImage", {"width": ["12", 0], "height": 64}),
    )
    assert (found.entries["Seed"], found.entries["Steps"]) == ("9", "33")
    assert found.entries["Size"] == "33x64"


def test_combined_prompts_are_joined():
    found = changed(
        positive=["10", 0],
        n10=("ConditioningCombine", {"conditioning_1": ["6", 0], "conditioning_2": ["11", 0]}),
        n11=("CLIPTextEncodeSDXL", {"text_g": "a boat", "text_l": "a boat", "clip": ["4", 1]}),
    )
    assert found.prompt == "a house, дом\na boat"


def test_a_negative_prompt_that_is_zeroed_out_is_none():
    found = changed(negative=["10", 0], n10=("ConditioningZeroOut", {"conditioning": ["6", 0]}))
    assert (found.prompt, found.negative_prompt) == ("a house, дом", "")


def test_a_loader_that_holds_both_prompts_gives_each():
    texts = {"positive": "a boat", "negative": "waves", "ckpt_name": "m.ckpt"}
    found = changed(positive=["10", 1], negative=["10", 2], n10=("Efficient Loader", texts))
    assert (found.prompt, found.negative_prompt) == ("a boat", "waves")


def test_of_two_samplers_the_first_to_run_is_taken():
    hires = SAMPLER | {"seed": 6, "denoise": 0.5, "latent_image": ["11", 0]}
    found = changed(
        n10=("KSampler", hires),
        n11=("LatentUpscale", {"samples": ["3", 0], "width": 1024, "height": 1536}),
        n8=("VAEDecode", {"samples": ["10", 0], "vae": ["4", 2]}),
    )
    assert found.entries == ENTRIES | {"Further samplers": "1"}


def test_a_sampler_in_parts_is_read():
    found = read(
        {
            **BASIC,
            "3": (
                "SamplerCustomAdvanced",
                {
                    "noise": ["20", 0],
                    "guider": ["21", 0],
                    "sampler": ["22", 0],
                    "sigmas": ["23", 0],
                    "latent_image": ["5", 0],
                },
            ),
            "20": ("RandomNoise", {"noise_seed": 5}),
            "21": (
                "CFGGuider",
                {"cfg": 8.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0]},
            ),
            "22": ("KSamplerSelect", {"sampler_name": "dpmpp_2m"}),
            "23": ("KarrasScheduler", {"steps": 20, "sigma_max": 14.6, "sigma_min": 0.03}),
        }
    )
    assert (found.prompt, found.negative_prompt) == ("a house, дом", "blurry")
    assert found.entries == ENTRIES | {"Schedule type": "Karras"}


@pytest.mark.parametrize(
    "encoder, task",
    [("VAEEncode", "img2img"), ("VAEEncodeForInpaint", "inpaint")],
)
def test_a_latent_of_a_picture_is_img2img(encoder, task):
    found = changed(
        denoise=0.6,
        latent_image=["10", 0],
        n10=(encoder, {"pixels": ["11", 0], "vae": ["4", 2]}),
        n11=("LoadImage", {"image": "in.png"}),
    )
    assert (found.task, found.entries["Denoising strength"]) == (task, "0.6")
    assert "Size" not in found.entries


def test_an_empty_latent_that_is_not_denoised_in_full_is_told():
    found = changed(denoise=0.5)
    assert (found.task, found.entries["Denoising strength"]) == ("txt2img", "0.5")


def circle(n: int) -> dict[str, tuple[str, dict[str, object]]]:
    """Samplers in a circle, each linked to all inputs of the next."""
    ids = [str(i) for i in range(n)]
    return {
        id: ("KSampler", {name: [ids[(i + 1) % n], 0] for name in (*SAMPLER, "text")})
        for i, id in enumerate(ids)
    }


@pytest.mark.parametrize("n", [1, 2, 3, 300])
def test_a_graph_that_runs_in_a_circle_ends(n):
    found = read(circle(n))
    assert (found.prompt, found.entries.get("Steps")) == ("", None)


def test_a_graph_of_more_nodes_than_anybody_draws_is_not_read():
    sampler = ("KSampler", {"latent_image": 0, "seed": 5})
    nodes = {str(i): sampler for i in range(MAX_NODES)}
    assert read(nodes).entries["Seed"] == "5"
    assert read({**nodes, "more": sampler}) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "a house", "[]", "{}", '{"1": 2}', '{"1": {"inputs": []}}'),
        *('{"1": {"class_type": 3}}', '{"1": {"class_type": "KSampler", "inputs": {}}}'),
        *("[" * 10**5, '{"a":' * 10**5),
    ],
)
def test_what_holds_no_sampler_is_not_read(text):
    assert comfyui.read({"prompt": text}) is None


IDS = st.sampled_from("123456")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | IDS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(IDS, st.integers(0, 3)),
    max_leaves=4,
)
NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["KSampler", "CLIPTextEncode", "LoadImage", ""]) | VALUES,
        "inputs": st.dictionaries(st.sampled_from([*SAMPLER, "text", "width", "x"]), VALUES)
        | VALUES,
    }
)


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(st.dictionaries(IDS, NODES | VALUES, min_size=1))
def test_any_graph_is_read_or_is_none(graph):
    found = comfyui.read({"prompt": json.dumps(graph)})
    if found is not None:
        assert isinstance(found.prompt, str)
        assert all(isinstance(value, str) for value in found.entries.values())
