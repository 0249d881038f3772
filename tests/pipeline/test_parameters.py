import copy
import json
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager

from labml_sd.errors import ImageError
from labml_sd.images.tensors import save_images
from labml_sd.images.texts import texts_of
from labml_sd.pipeline import img2img, txt2img
from labml_sd.pipeline.parameters import (
    GenerationParameters,
    attach,
    parameters_of,
    parse_json,
    parse_text,
    read_parameters,
)
from labml_sd.pipeline.request import make_request
from labml_sd.settings import described

PARAMETERS = GenerationParameters(
    task="img2img",
    prompt="a red house, in the snow",
    settings={
        "negative_prompt": "blurry",
        "steps": 20,
        "sampler": "dpmpp_2m",
        "compat": "diffusers",
        "guidance_scale": 0.1 + 0.2,
        "guidance_rescale": 0.7,
        "guidance_interval": (0.28, 5.42),
        "seed": 2**63 - 1,
        "variation_seed": 2**63 - 2,
        "variation_strength": 0.3,
        "noise": "cuda",
        "height": 48,
        "width": 32,
    },
    strength=0.75,
    model="small",
    model_hash="0123456789",
    dtype="float32",
    init_image_sha256="ab" * 32,
    version="0.1.0",
)
# As it was written before the settings had a class: pictures of that time must stay readable.
WRITTEN = (
    '{"ai-generated": true, "task": "img2img", "prompt": "a red house, in the snow", '
    '"negative_prompt": "blurry", "seed": 9223372036854775807, "steps": 20, '
    '"sampler": "dpmpp_2m", "compat": "diffusers", "guidance_scale": 0.30000000000000004, '
    '"guidance_rescale": 0.7, "guidance_low": 0.28, "guidance_high": 5.42, '
    '"variation_seed": 9223372036854775806, "variation_strength": 0.3, "noise": "cuda", '
    '"width": 32, "height": 48, "strength": 0.75, "model": "small", '
    '"model_hash": "0123456789", "dtype": "float32", "init_image_sha256": "'
    + "ab" * 32
    + '", "mask_sha256": null, "version": "0.1.0"}'
)
WEB_UI = (
    "a castle,\n(detailed:1.2)\n"
    "Negative prompt: lowres\nbad hands, text\n"
    "Steps: 28, Sampler: Euler a, Schedule type: Automatic, CFG scale: 6.5, Seed: 1234, "
    "Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, "
    'Lora hashes: "a: 1, b: 2", Version: v1.9.0'
)
PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=40)


def changed(**new: object) -> GenerationParameters:
    return replace(PARAMETERS, settings={**PARAMETERS.settings, **new})


def drawn(parameters: GenerationParameters) -> Image.Image:
    return attach(Image.new("RGB", (8, 8), "red"), parameters)


def test_settings_are_attributes_too():
    assert (PARAMETERS.seed, PARAMETERS.guidance_interval) == (2**63 - 1, (0.28, 5.42))
    assert GenerationParameters().seed is None
    with pytest.raises(AttributeError, match="GenerationParameters has no attribute 'sead'"):
        PARAMETERS.sead  # noqa: B018


def test_parameters_can_be_copied():
    for twin in (copy.deepcopy(PARAMETERS), pickle.loads(pickle.dumps(PARAMETERS))):
        assert twin == PARAMETERS


# Keys that later versions added.
LATER = dict.fromkeys(
    (
        "spacing",
        "clip_skip",
        "emphasis",
        "embeddings",
        "ti_hashes",
        "fill",
        "mask_blur",
        "only_masked",
        "vae",
        "vae_hash",
    )
)


def test_the_json_has_the_keys_and_values_it_always_had():
    assert json.loads(PARAMETERS.to_json()) == {**json.loads(WRITTEN), **LATER}
    assert parse_json(PARAMETERS.to_json()) == PARAMETERS
    # In version 0.1.0 brackets in a prompt were text.
    assert parse_json(WRITTEN) == changed(emphasis="none")


def test_what_is_not_known_is_null_in_the_json():
    values = json.loads(GenerationParameters().to_json())
    assert values.keys() == {*json.loads(WRITTEN), *LATER}
    known = {key: value for key, value in values.items() if value is not None}
    assert known == {"ai-generated": True, "task": "txt2img", "prompt": ""}


def test_the_text_is_the_one_that_web_uis_show():
    assert changed(seed=7, guidance_scale=7.0).to_text() == (
        "a red house, in the snow\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Compat: diffusers, CFG scale: 7, Guidance rescale: 0.7, "
        "Guidance low: 0.28, Guidance high: 5.42, Seed: 7, "
        "Variation seed: 9223372036854775806, Variation seed strength: 0.3, "
        "RNG: NV, Size: 32x48, Model hash: 0123456789, Model: small, "
        "Denoising strength: 0.75, Version: labml_sd 0.1.0"
    )


def test_an_empty_negative_prompt_has_no_line():
    assert "Negative" not in changed(negative_prompt="").to_text()


def test_a_sampler_without_a_title_keeps_its_name():
    text = changed(sampler="DDIM(spacing='uniform', eta=0.5)").to_text()
    assert "Sampler: \"DDIM(spacing='uniform', eta=0.5)\"," in text
    assert parse_text(text).sampler == "DDIM(spacing='uniform', eta=0.5)"


def test_our_text_says_the_same_as_the_json():
    back = parse_text(PARAMETERS.to_text())
    unsaid = {"dtype": None, "init_image_sha256": None, "version": "labml_sd 0.1.0"}
    assert back == replace(PARAMETERS, **unsaid)


@pytest.mark.parametrize("img_format", ["png", "jpg", "webp"])
@pytest.mark.parametrize("prompt", ["дом\nSteps: 1, Seed: 2, Size: 1x1", "a \ud83c b", ""])
def test_parameters_come_back_from_a_file_exactly(img_format, prompt, tmp_path):
    parameters = replace(changed(negative_prompt=prompt), prompt=prompt)
    path = save_images([drawn(parameters)], tmp_path, img_format=img_format)[0]
    assert read_parameters(path) == parameters


def test_parameters_come_back_from_a_picture_that_was_never_saved():
    assert read_parameters(drawn(PARAMETERS)) == PARAMETERS


def test_what_was_never_set_comes_back_as_not_known(tmp_path):
    path = save_images([drawn(GenerationParameters())], tmp_path)[0]
    assert read_parameters(path) == GenerationParameters()


def test_the_exact_values_count_where_a_text_says_something_else(tmp_path):
    image = drawn(PARAMETERS)
    image.info["parameters"] = WEB_UI
    assert read_parameters(save_images([image], tmp_path)[0]) == PARAMETERS


def test_parameters_of_a_large_picture_are_read_when_the_caller_asks_for_it(tmp_path):
    path = save_images([drawn(PARAMETERS)], tmp_path)[0]
    with pytest.raises(ImageError, match="max_pixels"):
        read_parameters(path, max_pixels=63)
    assert read_parameters(path, max_pixels=64) == PARAMETERS


def test_a_picture_without_parameters_is_one_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    message = r"photo\.png carries no generation parameters"
    with pytest.raises(ImageError, match=message) as error:
        read_parameters(tmp_path / "photo.png")
    assert "\n" not in str(error.value)


def test_a_web_uis_text_is_understood():
    assert parse_text(WEB_UI) == GenerationParameters(
        prompt="a castle,\n(detailed:1.2)",
        settings={
            "negative_prompt": "lowres\nbad hands, text",
            "steps": 28,
            "sampler": "euler_a",
            "guidance_scale": 6.5,
            "compat": "a1111",
            "noise": "cuda",
            "clip_skip": 2,
            "seed": 1234,
            "width": 512,
            "height": 768,
        },
        model="v1-5",
        model_hash="6ce0161689",
        version="v1.9.0",
        tool="A1111",
        unused={"Lora hashes": "a: 1, b: 2"},
    )


def test_a_web_uis_variation_and_noise_are_understood():
    back = parse_text(
        "a\nSteps: 2, Seed: 1, Variation seed: 8, Variation seed strength: 0.3, RNG: NV"
    )
    found = (back.seed, back.variation_seed, back.variation_strength, back.noise)
    assert found == (1, 8, 0.3, "cuda")


@pytest.mark.parametrize("half", ["Guidance low: 1", "Guidance high: 1"])
def test_half_an_interval_is_not_known(half):
    assert parse_text(f"a\nSteps: 2, Seed: 1, {half}").guidance_interval is None
    key = half.split(":")[0].lower().replace(" ", "_")
    assert parse_json(f'{{"{key}": 1.0}}').guidance_interval is None


@pytest.mark.parametrize("value", ["many", "1e3", "1" * 5000])
def test_a_number_in_another_form_is_not_known(value):
    assert parse_text(f"p\nSteps: {value}, Seed: 1, Size: 8x8").steps is None


@pytest.mark.parametrize("size", ["8", "8x", "x8", "-8x8", "8x8x8", "9999999999x1"])
def test_a_size_in_another_form_is_not_known(size):
    back = parse_text(f"p\nSteps: 1, Seed: 1, Size: {size}")
    assert (back.width, back.height, back.seed) == (None, None, 1)


def test_a_web_uis_png_is_understood(tmp_path):
    image = Image.new("RGB", (8, 8))
    image.info["parameters"] = WEB_UI
    assert read_parameters(save_images([image], tmp_path)[0]) == parse_text(WEB_UI)


DAMAGED = {
    "cut": "{",
    "a list": "[1]",
    "a text for a number": '{"steps": "20"}',
    "a number for a text": '{"sampler": 3}',
    "no prompt": '{"prompt": null}',
    "a truth value": '{"seed": true}',
    "a fraction": '{"seed": 1.5}',
    "deep": "[" * 9_000,
    "deeper": "[" * 100_000,
    "a million lists": "[" + "[]," * 10**6 + "[]]",
    "a hundred thousand keys": "{" + ",".join(f'"{i}": 0' for i in range(10**5)) + "}",
    "a million quotes": '"' * 10**6,
    "beyond all floats": '{"strength": 1' + "0" * 400 + "}",
    "5000 digits": '{"seed": 1' + "0" * 5000 + "}",
    "a megabyte for a number": '{"seed": "' + "x" * 10**6 + '"}',
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_parameters_are_one_line(text):
    with pytest.raises(ImageError, match="damaged parameters") as error:
        parse_json(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_keys_of_a_later_version_are_ignored():
    known = '"emphasis": null'
    text = f'{{"prompt": "a", "moon_phase": 3, {known}}}'
    assert parse_json(text) == GenerationParameters(prompt="a")
    assert parse_json(f'{{"settings": {{"seed": 3}}, {known}}}') == GenerationParameters()


def test_a_whole_number_serves_as_a_fraction():
    assert repr(parse_json('{"guidance_scale": 3}').guidance_scale) == "3.0"


def test_every_picture_of_a_call_has_parameters_of_its_own(model):
    call = {"n_images": 2, "seed": 7, "negative_prompt": ["x", "y"], "steps": 3}
    found = parameters_of(
        make_request(model, ["a", "b"], call),
        task="txt2img",
        size=(32, 48),
        model="m",
        model_hash="h",
        dtype="float32",
    )
    assert [p.prompt for p in found] == ["a", "a", "b", "b"]
    assert [p.negative_prompt for p in found] == ["x", "x", "y", "y"]
    assert [p.seed for p in found] == [7, 8, 9, 10]
    assert found[0].settings == {
        "negative_prompt": "x",
        "steps": 3,
        "sampler": "dpmpp_2m",
        "guidance_scale": model.config.guidance_scale,
        "seed": 7,
        "height": 48,
        "width": 32,
    }
    assert (found[0].strength, found[0].model, found[0].model_hash) == (None, "m", "h")


@pytest.mark.parametrize("spacing", [None, "karras", "linspace", "quadratic"])
def test_parameters_draw_their_picture_again(model, spacing):
    image = txt2img(
        model, "a house", steps=2, seed=3, noise="cuda", spacing=spacing, progress=False
    )[0]
    p = read_parameters(image)
    assert (
        txt2img(model, p.prompt, **p.settings, progress=False)[0].tobytes() == image.tobytes()
    )


@pytest.mark.parametrize(
    "spacing, words",
    [("karras", "Karras"), ("trailing", "SGM Uniform"), ("leading", "leading")],
)
def test_a_spacing_is_the_schedule_type_of_the_web_uis(model, spacing, words):
    call = make_request(model, "a", {"spacing": spacing})
    (one,) = parameters_of(call, task="txt2img", size=(32, 32), model="m")
    assert f", Schedule type: {words}, " in one.to_text()
    assert parse_text(one.to_text()).spacing == spacing
    assert parse_json(one.to_json()).spacing == spacing


NUMBERS = {
    "seed": (np.int64(3), 3),
    "steps": (torch.tensor(2), 2),
    "height": (np.int32(32), 32),
    "guidance_scale": (np.float32(2.5), 2.5),
    "guidance_interval": ((np.float16(0.5), np.int8(5)), (0.5, 5.0)),
    "variation_seed": (np.uint8(9), 9),
    "variation_strength": (np.float32(0.25), 0.25),
    "n_images": (np.int64(2), 2),
}


def test_numbers_of_numpy_and_pytorch_are_written_as_plain_numbers(model, photo):
    given, plain = ({name: pair[i] for name, pair in NUMBERS.items()} for i in (0, 1))

    def drawn_with(settings, strength):
        images = txt2img(model, "a house", **settings, progress=False)
        return images + img2img(
            model, "a house", photo(32, 32), strength=strength, **settings, progress=False
        )

    wanted = drawn_with(plain, 0.75)
    for image, same in zip(drawn_with(given, np.float32(0.75)), wanted, strict=True):
        assert image.tobytes() == same.tobytes() and texts_of(image) == texts_of(same)


TEXTS = st.text(st.characters(exclude_categories=()), max_size=60)
KEYS = [*json.loads(WRITTEN), *(f.name for f in fields(GenerationParameters)), *described()]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS, st.lists, max_leaves=3
)


@PROPERTY
@given(TEXTS, TEXTS, st.sampled_from(["png", "jpg", "webp"]))
def test_no_prompt_changes_what_is_read_back(tmp_path_factory, prompt, negative, img_format):
    parameters = replace(changed(negative_prompt=negative), prompt=prompt)
    folder = tmp_path_factory.mktemp("drawn")
    path = save_images([drawn(parameters)], folder, img_format=img_format)[0]
    assert read_parameters(path) == parameters


@PROPERTY
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_of_a_web_ui_is_read_as_far_as_possible(text):
    assert isinstance(parse_text(text), GenerationParameters)


@PROPERTY
@given(st.dictionaries(st.sampled_from(KEYS), ANY_JSON))
def test_any_json_is_read_or_is_one_line(values):
    try:
        assert isinstance(parse_json(json.dumps(values)), GenerationParameters)
    except ImageError as error:
        assert "damaged parameters" in str(error) and len(str(error)) < 300


def test_the_texts_are_where_other_programs_look():
    assert texts_of(drawn(PARAMETERS)) == {
        "parameters": PARAMETERS.to_text(),
        "labml_sd": PARAMETERS.to_json(),
    }


@pytest.mark.parametrize("img_format", ["png", "jpg", "webp"])
def test_another_programs_reader_finds_our_prompt_and_settings(img_format, tmp_path):
    one = changed(seed=7, guidance_scale=7.5)
    (path,) = save_images([drawn(one)], tmp_path, img_format=img_format)
    found = ParserManager().parse(path)
    (sampler,) = found.samplers
    assert found.generator == "AUTOMATIC1111"
    assert [prompt.value for prompt in found.prompts] == [PARAMETERS.prompt]
    assert [prompt.value for prompt in found.negative_prompts] == ["blurry"]
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters["seed"] == "7" and sampler.parameters["steps"] == "20"
    assert [(m.name, m.hash) for m in found.models] == [("small", "0123456789")]


def test_our_text_names_the_vae():
    named = replace(PARAMETERS, vae="ft-mse.safetensors", vae_hash="0123456789")
    back = parse_text(named.to_text())
    assert (back.vae, back.vae_hash, back.unused) == (named.vae, named.vae_hash, {})
