import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images.parameters import (
    GenerationParameters,
    attach,
    parse_json,
    parse_text,
    read_parameters,
)
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images

PARAMETERS = GenerationParameters(
    task="img2img",
    prompt="a red house, in the snow",
    negative_prompt="blurry",
    seed=2**63 - 1,
    steps=20,
    sampler="dpmpp_2m",
    compat="diffusers",
    guidance_scale=0.1 + 0.2,
    guidance_rescale=0.7,
    guidance_low=0.28,
    guidance_high=5.42,
    variation_seed=2**63 - 2,
    variation_strength=0.3,
    noise="cuda",
    width=32,
    height=48,
    strength=0.75,
    model="small",
    model_hash="0123456789",
    dtype="float32",
    init_image_sha256="ab" * 32,
    version="0.1.0",
)

DIFFICULT = {
    "newlines": "two\nlines\n\nand an empty one",
    "quotes": "she said \"no\", 'yes' \\ and left\t",
    "like settings": "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1",
    "like a negative prompt": "a house\nNegative prompt: not this one",
    "not Latin": "雪の中の赤い家 дом 🏠👩‍👩‍👧 e\u0301",
    "right to left": "בית אדום \u202e abc",
    "empty": "",
    "spaces": "  \t ",
    "control characters": "a\x00b\x1bc\x7f\x85d",
    "half a surrogate pair": "a \ud83c b",
    "long": "a red house " * 500,
}


def drawn(parameters: GenerationParameters) -> Image.Image:
    return attach(Image.new("RGB", (8, 8), "red"), parameters)


@pytest.mark.parametrize("img_format", ["png", "jpg", "webp"])
@pytest.mark.parametrize("text", DIFFICULT.values(), ids=DIFFICULT.keys())
def test_parameters_come_back_from_a_file_exactly(img_format, text, tmp_path):
    parameters = replace(PARAMETERS, prompt=text, negative_prompt=text)
    path = save_images([drawn(parameters)], tmp_path, img_format=img_format)[0]
    assert read_parameters(path) == parameters


MEGABYTE = {
    "one letter": "a" * 2**20,
    "emoji": "🏠" * 2**18,
    "NUL": "\0" * 2**20,
    "lines": "Steps: 1, Seed: 2, Size: 8x8\n" * 2**15,
}


@pytest.mark.parametrize("text", MEGABYTE.values(), ids=MEGABYTE.keys())
def test_a_megabyte_comes_back_from_a_png_too(text, tmp_path):
    parameters = replace(PARAMETERS, prompt=text, negative_prompt=text)
    assert read_parameters(save_images([drawn(parameters)], tmp_path)[0]) == parameters


def test_and_from_a_webp(tmp_path):
    parameters = replace(PARAMETERS, prompt=MEGABYTE["emoji"])
    assert (
        read_parameters(save_images([drawn(parameters)], tmp_path, img_format="webp")[0])
        == parameters
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
INJECTED = st.lists(
    st.sampled_from(
        [
            "\n",
            "Steps: 20, Sampler: Euler a, Seed: 1, Size: 9x9",
            "Negative prompt: ",
            '"',
            "\0",
        ]
    )
    | texts
).map("".join)
PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=40)


@PROPERTY
@given(INJECTED, INJECTED, st.sampled_from(["png", "jpg", "webp"]))
def test_no_prompt_changes_what_is_read_back(tmp_path_factory, prompt, negative, img_format):
    parameters = replace(PARAMETERS, prompt=prompt, negative_prompt=negative)
    folder = tmp_path_factory.mktemp("drawn")
    assert (
        read_parameters(save_images([drawn(parameters)], folder, img_format=img_format)[0])
        == parameters
    )


@PROPERTY
@given(INJECTED, INJECTED)
def test_nor_the_settings_that_other_programs_read(prompt, negative):
    back = parse_text(replace(PARAMETERS, prompt=prompt, negative_prompt=negative).to_text())
    assert (back.steps, back.seed, back.width) == (
        PARAMETERS.steps,
        PARAMETERS.seed,
        PARAMETERS.width,
    )


@PROPERTY
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_of_a_web_ui_is_read_as_far_as_it_goes(text):
    assert isinstance(parse_text(text), GenerationParameters)


@PROPERTY
@given(
    st.dictionaries(
        st.sampled_from([f.name for f in fields(GenerationParameters)]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | texts,
            st.lists,
            max_leaves=3,
        ),
    )
)
def test_any_json_is_read_or_is_one_line(values):
    try:
        assert isinstance(parse_json(json.dumps(values)), GenerationParameters)
    except ImageError as error:
        assert "damaged parameters" in str(error) and len(str(error)) < 300


def test_the_exact_values_count_where_a_text_says_something_else(tmp_path):
    image = drawn(PARAMETERS)
    image.info["parameters"] = WEB_UI
    assert read_parameters(save_images([image], tmp_path)[0]) == PARAMETERS


@pytest.mark.parametrize(
    "exif",
    [b"no such thing", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"],
    ids=["none", "far away", "empty"],
)
def test_a_damaged_exif_block_carries_no_parameters(exif, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=exif)
    with pytest.raises(ImageError, match="carries no generation parameters"):
        read_parameters(tmp_path / "a.webp")


def test_parameters_of_a_large_picture_are_read_when_the_caller_asks_for_it(tmp_path):
    path = save_images([drawn(PARAMETERS)], tmp_path)[0]
    with pytest.raises(ImageError, match="max_pixels"):
        read_parameters(path, max_pixels=63)
    assert read_parameters(path, max_pixels=64) == PARAMETERS


def test_parameters_come_back_from_a_picture_that_was_never_saved():
    assert read_parameters(drawn(PARAMETERS)) == PARAMETERS


def test_what_was_never_set_comes_back_as_none(tmp_path):
    path = save_images([drawn(GenerationParameters())], tmp_path)[0]
    assert read_parameters(path) == GenerationParameters()


def test_attaching_leaves_the_image_alone():
    image = Image.new("RGB", (8, 8))
    attach(image, PARAMETERS)
    assert image.info == {}


def test_the_text_is_the_one_that_web_uis_show(tmp_path):
    path = save_images([drawn(replace(PARAMETERS, seed=7, guidance_scale=7.0))], tmp_path)[0]
    assert read_picture(path).info["parameters"] == (
        "a red house, in the snow\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Compat: diffusers, CFG scale: 7, Guidance rescale: 0.7, "
        "Guidance low: 0.28, Guidance high: 5.42, Seed: 7, Variation seed: 9223372036854775806, "
        "Variation seed strength: 0.3, RNG: NV, Size: 32x48, Model hash: 0123456789, "
        "Model: small, Denoising strength: 0.75, Version: labml_sd 0.1.0"
    )


def test_an_empty_negative_prompt_has_no_line():
    assert "Negative" not in replace(PARAMETERS, negative_prompt="").to_text()


def test_a_value_with_commas_or_colons_is_written_as_a_json_string():
    text = replace(
        PARAMETERS, sampler="DDIM(spacing='uniform', eta=0.5)", model='a: "b"'
    ).to_text()
    assert (
        "Sampler: \"DDIM(spacing='uniform', eta=0.5)\"," in text
        and r'Model: "a: \"b\"",' in text
    )
    back = parse_text(text)
    assert (back.sampler, back.model) == ("DDIM(spacing='uniform', eta=0.5)", 'a: "b"')


def test_a_picture_says_that_it_was_generated(tmp_path):
    path = save_images([drawn(PARAMETERS)], tmp_path)[0]
    assert json.loads(read_picture(path).info["labml_sd"])["ai-generated"] is True


def test_jpeg_holds_the_text_as_a_unicode_user_comment(tmp_path):
    path = save_images([drawn(replace(PARAMETERS, prompt="дом"))], tmp_path, img_format="jpg")[
        0
    ]
    comment = read_picture(path).getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0" and comment[8:].decode("utf-16-be").startswith(
        "дом\nNegative prompt: "
    )


def test_a_prompt_too_long_for_jpeg_is_one_line(tmp_path):
    with pytest.raises(ImageError, match="save as png"):
        save_images(
            [drawn(replace(PARAMETERS, prompt="x" * 40_000))], tmp_path, img_format="jpg"
        )


WEB_UI = (
    "a castle,\n(detailed:1.2)\n"
    "Negative prompt: lowres\nbad hands, text\n"
    "Steps: 28, Sampler: Euler a, Schedule type: Automatic, CFG scale: 6.5, Seed: 1234, Size: 512x768, "
    'Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, Lora hashes: "a: 1, b: 2", Version: v1.9.0'
)


def test_a_web_uis_text_is_understood():
    assert parse_text(WEB_UI) == GenerationParameters(
        prompt="a castle,\n(detailed:1.2)",
        negative_prompt="lowres\nbad hands, text",
        seed=1234,
        steps=28,
        sampler="euler_a",
        guidance_scale=6.5,
        width=512,
        height=768,
        model="v1-5",
        model_hash="6ce0161689",
        version="v1.9.0",
    )


def test_a_web_uis_variation_and_noise_are_understood():
    back = parse_text(
        "a\nSteps: 2, Seed: 1, Variation seed: 8, Variation seed strength: 0.3, RNG: NV"
    )
    assert (back.seed, back.variation_seed, back.variation_strength, back.noise) == (
        1,
        8,
        0.3,
        "cuda",
    )


@pytest.mark.parametrize("rng", ["", ", RNG: CPU"])
def test_any_other_noise_of_a_web_ui_is_not_known(rng):
    assert parse_text(f"a\nSteps: 2, Seed: 1, Size: 8x8{rng}").noise is None


@pytest.mark.parametrize(("low", "high"), [(None, None), (1.0, None), (None, 1.0)])
def test_half_an_interval_is_none(low, high):
    assert GenerationParameters(guidance_low=low, guidance_high=high).guidance_interval is None


def test_a_web_uis_png_is_understood(tmp_path):
    image = Image.new("RGB", (8, 8))
    image.info["parameters"] = WEB_UI
    assert read_parameters(save_images([image], tmp_path)[0]) == parse_text(WEB_UI)


def test_a_web_uis_jpeg_is_understood(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + WEB_UI.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_parameters(tmp_path / "a.jpg") == parse_text(WEB_UI)


def test_our_own_text_says_the_same_as_the_json():
    back = parse_text(PARAMETERS.to_text())
    unsaid = {"dtype": None, "init_image_sha256": None, "version": "labml_sd 0.1.0"}
    assert back == replace(PARAMETERS, **unsaid)


@pytest.mark.parametrize("text", ["a: b, c: d", "only a prompt", "", "Negative prompt: x"])
def test_a_last_line_with_few_settings_belongs_to_the_prompt(text):
    back = parse_text(text)
    assert back.steps is None and back.prompt + back.negative_prompt in (text, "x")


@pytest.mark.parametrize("value", ["many", "1e3", "1" * 5000])
def test_a_number_in_a_strange_form_is_unknown(value):
    assert parse_text(f"p\nSteps: {value}, Seed: 1, Size: 8x8").steps is None


def test_a_long_line_of_words_is_read_in_no_time():
    assert parse_text("word " * 100_000).seed is None


def test_a_picture_without_parameters_is_one_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    with pytest.raises(
        ImageError, match=r"photo\.png carries no generation parameters"
    ) as error:
        read_parameters(tmp_path / "photo.png")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{",
            "[1]",
            '{"steps": "20"}',
            '{"prompt": null}',
            '{"seed": true}',
            '{"seed": 1.5}',
            "[" * 9_000,
            "[" * 100_000,
        ),
        *(
            "[" + "[]," * 10**6 + "[]]",
            "{" + ",".join(f'"{i}": 0' for i in range(10**5)) + "}",
            '"' * 10**6,
        ),
        *(
            '{"strength": 1' + "0" * 400 + "}",
            '{"seed": 1' + "0" * 5000 + "}",
            '{"seed": "' + "x" * 10**6 + '"}',
        ),
    ],
    ids=[
        *(
            "cut",
            "a list",
            "a text for a number",
            "no prompt",
            "a truth",
            "a fraction",
            "deep",
            "deeper",
        ),
        *("a million lists", "a hundred thousand keys", "a million quotes"),
        *("beyond all fractions", "5000 digits", "a megabyte for a number"),
    ],
)
def test_damaged_parameters_are_one_line(text):
    with pytest.raises(ImageError, match="damaged parameters") as error:
        parse_json(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_fields_of_a_later_version_are_passed_over():
    assert parse_json('{"prompt": "a", "moon_phase": 3}') == GenerationParameters(prompt="a")


def test_a_whole_number_serves_as_a_fraction():
    assert parse_json('{"guidance_scale": 3}').guidance_scale == 3.0
