import pytest

from labml_sd.images.other_tools import a1111, read_written

BEGIN = "a house\nNegative prompt: snow\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"


def read(text: str):
    return a1111.read({"parameters": text})


def test_prompt_negative_prompt_and_entries_are_read():
    found = read(f"{BEGIN}, Schedule type: Karras")
    assert (found.tool, found.prompt, found.negative_prompt) == ("A1111", "a house", "snow")
    assert found.entries == {
        "Steps": "20",
        "Sampler": "Euler a",
        "CFG scale": "7",
        "Seed": "1",
        "Schedule type": "Karras",
    }


def test_lines_that_extensions_add_behind_the_entries_are_left_out():
    template = "Template: (a:1.2), (b:1.3), (__house__:1.1)\nNegative Template: __snow__"
    assert read(f"{BEGIN}\n{template}") == read(BEGIN)


def test_of_two_lines_of_entries_the_last_counts():
    found = read(f"Steps: 1, Sampler: x, Seed: 2\n{BEGIN}")
    assert (
        found.prompt == "Steps: 1, Sampler: x, Seed: 2\na house"
        and found.entries["Seed"] == "1"
    )


def test_entries_that_do_not_begin_with_steps_are_read_from_the_last_line():
    assert read("a\nSeed: 1, Size: 8x8, Model: m").entries["Model"] == "m"


def test_line_ends_of_windows_are_read():
    found = read(BEGIN.replace("\n", "\r\n"))
    assert (found.prompt, found.negative_prompt, found.entries["Seed"]) == (
        "a house",
        "snow",
        "1",
    )


@pytest.mark.parametrize(
    "version, tool",
    [
        ("", "A1111"),
        (", Version: v1.10.1", "A1111"),
        (", Version: 1.6.0", "A1111"),
        (", Version: f2.0.1v1.10.1-previous-659-gc055f2d4", "A1111"),
        (", Version: Fooocus v2.5.5", "Fooocus"),
        (", Version: ComfyUI", "ComfyUI"),
        (", Version: labml_sd 0.1.0", "labml_sd"),
    ],
)
def test_the_version_names_the_program(version, tool):
    assert read(BEGIN + version).tool == tool


@pytest.mark.parametrize(
    "entries, task",
    [
        ("", "txt2img"),
        ("Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent", "txt2img"),
        ("Denoising strength: 0.75", "txt2img"),  # the HTTP interface writes it always
        ("Denoising strength: 0.75, Init image hash: 8d777f38", "img2img"),
        ("Denoising strength: 0.75, Mask blur: 4", "inpaint"),
        ("Denoising strength: 0.5, Version: labml_sd 0.1.0", "img2img"),
        ("Version: labml_sd 0.1.0", "txt2img"),
    ],
)
def test_strength_alone_makes_no_img2img_of_a_web_uis_picture(entries, task):
    assert read(f"{BEGIN}, {entries}").task == task


def test_a_picture_without_the_text_is_another_programs():
    assert a1111.read({"prompt": "{}"}) is None and read_written({}) is None


def test_a_web_uis_text_in_a_picture_of_comfyui_is_read():
    graph = '{"1": {"class_type": "KSampler", "inputs": {"latent_image": 0, "seed": 5}}}'
    assert read_written({"parameters": BEGIN, "prompt": graph}).entries["Seed"] == "1"
    assert read_written({"prompt": graph}).tool == "ComfyUI"
