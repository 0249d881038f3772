import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import labml_sd
from labml_sd.acceleration.attention import which_kernel
from labml_sd.checkpoint import model_hash, save_model
from labml_sd.cli import main as cli
from labml_sd.cli import show as cli_show
from labml_sd.cli.saving import print_path
from labml_sd.errors import ImageError
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import MAX_PIXELS, save_images
from labml_sd.pipeline.parameters import GenerationParameters, attach, read_parameters


def only_picture(lines):
    (path,) = lines
    return read_parameters(path)


def test_a_prompt_is_all_that_is_needed(shell):
    code, out, _ = shell("txt2img", "a house", "--steps", 2)
    assert code == 0
    assert out == [os.path.join("outputs", "00000.png")] and Path(out[0]).is_file()
    names = {"source": "tiny", "device": "auto", "dtype": "auto", "tokenizer": None}
    assert shell.loads == [
        {**names, "compile": False, "offload": False, "vae": None, "prediction": None}
    ]


def test_a_random_seed_is_printed_and_draws_the_same_picture_again(shell):
    _, first, (told,) = shell("txt2img", "a house", "--steps", 2)
    _, again, err = shell(
        "txt2img", "a house", "--steps", 2, "--seed", told.removeprefix("seed ")
    )
    assert err == []
    assert read_picture(again[0]).tobytes() == read_picture(first[0]).tobytes()


ALL = {
    "negative_prompt": "snow",
    "steps": 2,
    "sampler": "ddim",
    "guidance_scale": 2.5,
    "seed": 7,
    "height": 48,
    "width": 16,
}


@pytest.mark.parametrize(
    "flags",
    [
        "--negative-prompt snow --steps 2 --guidance-scale 2.5 --sampler ddim --height 48 -W16",
        "--negative_prompt snow --num-inference-steps 2 --scale 2.5 --sampler ddim -H48 -W16",
        "--negative snow --ddim_steps 2 --cfg-scale 2.5 --sampler-name ddim -H 48 -W 16",
        "--negative-prompt=snow --steps=2 --guidance_scale=2.5 --sampler=ddim --height=48 -W16",
    ],
    ids=["main names", "diffusers", "CompVis", "with ="],
)
def test_flags_reach_the_pipeline_under_every_name(shell, flags):
    code, out, _ = shell("txt2img", "a house", "--seed", 7, *flags.split())
    drawn = only_picture(out)
    assert code == 0 and {key: getattr(drawn, key) for key in ALL} == ALL


ADDED = {
    "compat": "diffusers",
    "guidance_rescale": 0.7,
    "guidance_interval": (0.5, 5.0),
    "variation_seed": 8,
    "variation_strength": 0.3,
    "noise": "cuda",
}
ADDED_FLAGS = [
    *("--compat", "diffusers", "--guidance-rescale", 0.7, "--guidance-interval", 0.5, 5),
    *("--variation-seed", 8, "--variation-strength", 0.3, "--noise", "cuda"),
]


@pytest.mark.parametrize("command, n_inputs", [("txt2img", 0), ("img2img", 1), ("inpaint", 2)])
def test_guidance_noise_and_variation_are_flags_of_all_three(shell, photo, command, n_inputs):
    photo(32, 32).save("in.png")
    inputs = ["--init-image=in.png", "--mask=in.png"][:n_inputs]
    code, out, _ = shell(command, "a house", "--steps", 2, *inputs, *ADDED_FLAGS)
    drawn = only_picture(out)
    assert code == 0 and {key: getattr(drawn, key) for key in ADDED} == ADDED


def test_the_web_uis_flags_of_variations_work(shell):
    _, out, _ = shell("txt2img", "a", "--steps", 1, "--subseed", 8, "--subseed_strength", 0.3)
    drawn = only_picture(out)
    assert (drawn.variation_seed, drawn.variation_strength) == (8, 0.3)


@pytest.mark.parametrize("name", ["--n-samples", "--n_samples", "--batch-size", "--n-images"])
def test_several_pictures_count_their_seeds(shell, name):
    _, out, _ = shell(
        "txt2img", "a house", "--steps", 1, "--seed", 5, name, 2, "--outdir", "here"
    )
    assert [(Path(p).parent.name, read_parameters(p).seed) for p in out] == [
        ("here", 5),
        ("here", 6),
    ]


@pytest.mark.parametrize(
    "flags, loaded",
    [
        (
            ["--model", "m", "--device", "cpu", "--dtype", "float16"],
            ("m", "cpu", "float16", None, False, False, None, None),
        ),
        (
            ["--ckpt", "m", "--precision", "full", "--tokenizer", "t"],
            ("m", "auto", "float32", "t", False, False, None, None),
        ),
        (["--precision", "autocast"], ("tiny", "auto", "auto", None, False, False, None, None)),
        (["--compile"], ("tiny", "auto", "auto", None, True, False, None, None)),
        (
            ["--vae", "v.pt", "--prediction", "v"],
            ("tiny", "auto", "auto", None, False, False, "v.pt", "v"),
        ),
        (["--offload"], ("tiny", "auto", "auto", None, False, True, None, None)),
    ],
)
def test_the_model_is_chosen_by_flags(shell, flags, loaded):
    shell("txt2img", "a house", "--steps", 1, *flags)
    assert tuple(shell.loads[0].values()) == loaded


def test_the_prompt_may_be_a_flag(shell):
    assert (
        only_picture(shell("txt2img", "--prompt", "a boat", "--steps", 1)[1]).prompt == "a boat"
    )


def test_a_prompt_file_holds_one_prompt_per_line(shell, tmp_path):
    (tmp_path / "p.txt").write_bytes("\ufeffa house\r\n\r\n  дом  \n".encode())
    _, out, _ = shell("txt2img", "--from-file", "p.txt", "--steps", 1)
    assert [read_parameters(p).prompt for p in out] == ["a house", "дом"]


@pytest.mark.parametrize(
    "words, command",
    [
        (["txt2img", "a", "--stepz", "3"], "labml-sd txt2img"),
        (["img2img", "a", "red", "house"], "labml-sd img2img"),
        (["env", "now"], "labml-sd env"),
        (["txt2img", "a", "--steps", "many"], "labml-sd txt2img"),
    ],
)
def test_an_error_in_the_arguments_names_the_help_of_the_command(shell, words, command):
    code, _, (told,) = shell(*words)
    assert code == 2 and told.endswith(f" (see {command} --help)")


def test_only_line_ends_divide_a_prompt_file(shell, tmp_path):
    others = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
    (tmp_path / "p.txt").write_bytes(f"{others}\rtwo\nthree\r\n\r\nfour".encode())
    _, out, _ = shell("txt2img", "--prompt-file", "p.txt", "--steps", 1)
    assert [read_parameters(p).prompt for p in out] == [others, "two", "three", "four"]


def test_img2img_draws_a_picture_of_the_same_size(shell, photo):
    photo(45, 27).save("in.png")
    code, out, _ = shell(
        "img2img", "a house", "--init-img", "in.png", "--denoising-strength", 0.5, "--steps", 2
    )
    drawn = only_picture(out)
    assert code == 0 and (drawn.task, drawn.strength, drawn.width, drawn.height) == (
        "img2img",
        0.5,
        45,
        27,
    )


def test_a_photo_that_a_camera_turned_is_drawn_upright(shell, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(48, 32).save("in.jpg", exif=exif.tobytes())
    _, out, _ = shell("img2img", "a house", "--init-image", "in.jpg", "--steps", 1)
    assert read_picture(out[0]).size == (32, 48)


def test_strokes_on_a_transparent_ground_are_a_mask(shell, photo):
    photo(32, 32).save("in.png")
    mask = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (16, 0, 32, 32))
    mask.save("mask.png")
    inputs = ["--init-image", "in.png", "--mask", "mask.png"]
    code, out, err = shell("inpaint", "a house", *inputs, "--steps", 2, "--seed", 1)
    painted, kept = np.asarray(read_picture(out[0])), np.asarray(photo(32, 32))
    assert (code, err) == (0, [])
    assert np.array_equal(painted[:, :16], kept[:, :16])
    assert not np.array_equal(painted[:, 16:], kept[:, 16:])


def test_inpaint_keeps_what_is_black(shell, photo):
    photo(32, 32).save("in.png")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (16, 0, 32, 32))
    mask.save("mask.png")
    code, out, _ = shell(
        "inpaint", "a house", "--init-image", "in.png", "--mask", "mask.png", "--steps", 2
    )
    painted = np.asarray(read_picture(out[0]))
    assert code == 0 and np.array_equal(painted[:, :16], np.asarray(photo(32, 32))[:, :16])


def test_a_picture_is_drawn_again_from_its_parameters(shell):
    options = [
        "--steps",
        3,
        "--sampler",
        "ddpm",
        "--negative-prompt",
        "a: b,\nc",
        "--guidance-scale",
        1.7,
        "-W",
        48,
    ]
    _, first, _ = shell("txt2img", "a house", *options)
    code, again, err = shell("txt2img", "--from-image", first[0], "--model", "m")
    assert (code, err) == (0, [])
    assert read_picture(again[0]).tobytes() == read_picture(first[0]).tobytes()
    assert shell.loads[1]["dtype"] == "float32"


def test_a_picture_with_guidance_noise_and_variation_is_drawn_again_to_the_bit(shell):
    _, first, _ = shell("txt2img", "a house", "--steps", 3, *ADDED_FLAGS)
    code, again, err = shell("txt2img", "--from-image", first[0], "--model", "m")
    assert (code, err) == (0, [])
    assert read_picture(again[0]).tobytes() == read_picture(first[0]).tobytes()


def test_a_picture_on_other_noise_levels_is_drawn_again_to_the_bit(shell):
    _, first, _ = shell("txt2img", "a house", "--steps", 3, "--scheduler", "karras")
    code, again, err = shell("txt2img", "--from-image", first[0], "--model", "m")
    assert (code, err, only_picture(again).spacing) == (0, [], "karras")
    assert read_picture(again[0]).tobytes() == read_picture(first[0]).tobytes()


WEB_UI = "a house\nSteps: 2, Seed: 7, CFG scale: 2.5, Size: 32x32, "


def signed(name, **texts):
    """A picture file with another program's texts."""
    image = Image.new("RGB", (32, 32))
    image.info |= texts
    return save_images([image], ".", prefix=name)[0]


@pytest.mark.parametrize(
    "entries, same, told",
    [
        ("Sampler: DPM++ 2M, Schedule type: Karras", "dpmpp_2m --spacing karras", None),
        ("Sampler: DPM++ 2M Karras, RNG: CPU", "dpmpp_2m --spacing karras --noise cpu", None),
        ("Sampler: Euler a, Schedule type: Automatic", "euler_a", None),
        ("Sampler: Euler a, Schedule type: Beta", "euler_a", "Schedule type: Beta"),
        ("Sampler: DDIM, Clip skip: 1, ENSD: 31337", "ddim", "ENSD: 31337"),
        (
            "Sampler: Euler, Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent",
            "euler --spacing linspace",
            "Hires upscale: 2, Hires upscaler: Latent, Denoising strength: 0.7",
        ),
    ],
)
def test_a_web_uis_picture_is_drawn_again_and_told_is_what_is_not_done(
    shell, entries, same, told
):
    path = signed("theirs-", parameters=WEB_UI + entries)
    code, again, err = shell("txt2img", "--from-image", path, "--model", "m")
    flags = f"--compat a1111 --noise cuda --steps 2 --seed 7 --scale 2.5 --sampler {same}"
    _, wanted, _ = shell("txt2img", "a house", *flags.split())
    assert code == 0
    assert read_picture(again[0]).tobytes() == read_picture(wanted[0]).tobytes()
    start = "labml-sd: warning: what A1111 did and is not done here: "
    assert err == ([] if told is None else [start + told])


COMFYUI = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 7,
            "steps": 2,
            "cfg": 2.5,
            "sampler_name": "euler",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "m.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 48}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a house"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "snow"}},
}
PROGRAMS = {
    "ComfyUI": {"prompt": json.dumps(COMFYUI), "workflow": "{}"},
    "NovelAI": {
        "Software": "NovelAI",
        "Description": "a house",
        "Comment": '{"uc": "snow", "steps": 2, "seed": 7, "scale": 2.5, "sampler": "k_euler", '
        '"noise_schedule": "karras", "width": 32, "height": 48}',
    },
    "InvokeAI": {
        "invokeai_metadata": '{"positive_prompt": "a house", "negative_prompt": "snow", '
        '"steps": 2, "seed": 7, "cfg_scale": 2.5, "scheduler": "euler_k", "width": 32, '
        '"height": 48, "rand_device": "cpu"}'
    },
    "Fooocus": {
        "fooocus_scheme": "fooocus",
        "parameters": '{"metadata_scheme": "fooocus", "prompt": "a house", "steps": 2, '
        '"negative_prompt": "snow", "seed": "7", "guidance_scale": 2.5, "sampler": "euler", '
        '"scheduler": "karras", "resolution": "(32, 48)"}',
    },
    "A1111": {
        "parameters": "a house\nNegative prompt: snow\nSteps: 2, Sampler: Euler, "
        "Schedule type: Karras, CFG scale: 2.5, Seed: 7, Size: 32x48"
    },
}
THEIRS = {
    "task": "txt2img",
    "prompt": "a house",
    "negative_prompt": "snow",
    "steps": "2",
    "sampler": "euler",
    "spacing": "karras",
    "guidance_scale": "2.5",
    "seed": "7",
    "height": "48",
    "width": "32",
}


@pytest.mark.parametrize("tool", PROGRAMS)
def test_inspect_shows_what_other_programs_wrote_and_it_is_drawn_again(shell, tool):
    path = signed("theirs-", **PROGRAMS[tool])
    code, lines, _ = shell("inspect", path)
    shown = dict(line.split(":", 1) for line in lines)
    shown = {key: value.strip() for key, value in shown.items()}
    assert (code, shown.items() >= {"tool": tool, **THEIRS}.items()) == (0, True)
    code, again, _ = shell("txt2img", "--from-image", path, "--model", "m")
    drawn = only_picture(again)
    assert (
        code == 0 and THEIRS.items() <= {k: str(v) for k, v in drawn.to_dict().items()}.items()
    )


def test_inspect_shows_a_hidden_text(shell):
    image = Image.new("RGBA", (64, 64), "white")
    text = b"a house\nSteps: 2, Sampler: Euler, Seed: 7"
    message = b"stealth_pnginfo" + (8 * len(text)).to_bytes(4) + text
    bits = np.zeros(64 * 64, np.uint8)
    bits[: 8 * len(message)] = np.unpackbits(np.frombuffer(message, np.uint8))
    image.putalpha(Image.fromarray(254 + bits.reshape(64, 64).T))
    image.save("hidden.png")
    code, lines, _ = shell("inspect", "hidden.png")
    assert code == 0 and "prompt:            a house" in lines


def test_inspect_shows_what_cannot_be_drawn_here(shell):
    path = signed("theirs-", parameters=WEB_UI + "Sampler: Euler, VAE: v.pt, task: x, \x1b: 1")
    _, lines, _ = shell("inspect", path)
    assert [line for line in lines if line.startswith(("task", "unused", "tool"))] == [
        "tool:              A1111",
        "task:              txt2img",
        "unused:            VAE: v.pt, task: x",
    ]


def test_the_second_picture_of_a_call_is_drawn_again_by_itself(shell):
    _, first, _ = shell("txt2img", "a house", "--steps", 3, "--n-samples", 2, *ADDED_FLAGS)
    _, again, _ = shell("txt2img", "--from-image", first[1], "--model", "m")
    one, two = (np.asarray(read_picture(path), dtype=int) for path in (again[0], first[1]))
    assert np.abs(one - two).max() <= 1  # in a batch of two the arithmetic rounds otherwise


def test_flags_replace_the_parameters_of_a_picture_drawn_again(shell):
    _, first, _ = shell("txt2img", "a house", "--steps", 3, "--seed", 5)
    _, again, _ = shell(
        "txt2img", "a boat", "--from-image", first[0], "--model", "m", "--steps", 2
    )
    drawn = only_picture(again)
    assert (drawn.prompt, drawn.steps, drawn.seed) == ("a boat", 2, 5)


ERRORS = {
    "no command": ([], "required"),
    "unknown command": (["txt3img"], "invalid choice"),
    "unknown flag": (["txt2img", "a", "--stepz", "3"], "unrecognized arguments: --stepz"),
    "a prompt without quotes": (
        ["txt2img", "a", "red", "house"],
        "unrecognized arguments: red house; a prompt of several words needs quotes",
    ),
    "a word for a number": (["txt2img", "a", "--steps", "many"], "invalid int value: 'many'"),
    "no prompt": (["txt2img"], "no prompt was given"),
    "two prompts": (["txt2img", "a", "--prompt", "b"], "more than one prompt"),
    "no prompt file": (["txt2img", "--prompt-file", "none.txt"], "none.txt: No such file"),
    "an empty prompt file": (["txt2img", "--prompt-file", "empty.txt"], "holds no prompt"),
    "a prompt file without end": (
        ["txt2img", "--prompt-file", "/dev/zero"],
        "longer than 16,777,216 bytes",
    ),
    "a prompt file of no name": (
        ["txt2img", "--prompt-file", "a\0b"],
        "cannot read the prompts in a\\x00b",
    ),
    "a prompt file with a long line": (
        ["txt2img", "--prompt-file", "long.txt"],
        "longer than 1,048,576 bytes",
    ),
    "a prompt file in another code": (
        ["txt2img", "--prompt-file", "latin.txt"],
        "not UTF-8 text",
    ),
    "steps 0": (["txt2img", "a", "--steps", "0"], "steps is 0"),
    "unknown sampler": (["txt2img", "a", "--sampler", "ddmp"], "did you mean 'ddpm'"),
    "guidance rescale": (
        ["txt2img", "a", "--guidance-rescale", "2"],
        "guidance_rescale is 2.0",
    ),
    "guidance interval": (
        ["txt2img", "a", "--guidance-interval", "5", "1"],
        "guidance_interval is 5.0 to 1.0",
    ),
    "half an interval": (["txt2img", "a", "--guidance-interval", "5"], "expected 2 arguments"),
    "no variation seed": (
        ["txt2img", "a", "--variation-strength", "1"],
        "without a variation_seed",
    ),
    "variation strength": (
        ["txt2img", "a", "--variation-strength", "2"],
        "variation_strength is 2.0",
    ),
    "noise": (["txt2img", "a", "--noise", "mps"], "noise is 'mps'; choose one of cpu, cuda"),
    "size": (["txt2img", "a", "-H", "40"], "the nearest that work are 32 and 48"),
    "seed": (["txt2img", "a", "--seed", "-1"], "seed is -1"),
    "no init image": (["img2img", "a"], "give --init-image FILE"),
    "missing init image": (
        ["img2img", "a", "--init-image", "none.png"],
        "none.png does not exist",
    ),
    "no picture": (
        ["img2img", "a", "--init-image", "empty.txt"],
        "not a picture that can be read",
    ),
    "strength": (
        ["img2img", "a", "--init-image", "in.png", "--strength", "1.5"],
        "strength is 1.5",
    ),
    "no mask": (["inpaint", "a", "--init-image", "in.png"], "give --mask FILE"),
    "other mask": (
        ["inpaint", "a", "--init-image", "in.png", "--mask", "in2.png"],
        "mask is 9x8",
    ),
    "outdir": (
        ["txt2img", "a", "--seed", "1", "--steps", "1", "--outdir", "in.png"],
        "cannot write to in.png",
    ),
    "no parameters": (
        ["txt2img", "--from-image", "in.png"],
        "carries no generation parameters",
    ),
    "inspect nothing": (["inspect", "none.ckpt"], "none.ckpt does not exist"),
    "inspect a text": (["inspect", "empty.txt"], "empty.txt"),
    "inspect a photo": (["inspect", "in.png"], "carries no generation parameters"),
}


@pytest.mark.parametrize("arguments, message", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_is_one_line_and_exit_code_2(shell, arguments, message):
    Path("empty.txt").write_text(" \n")
    Path("latin.txt").write_bytes(b"caf\xe9")
    Path("long.txt").write_bytes(b"x" * 2**21)
    Image.new("RGB", (8, 8)).save("in.png")
    Image.new("RGB", (9, 8)).save("in2.png")
    code, out, err = shell(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("labml-sd: error: ") and message in err[0]


def test_a_folder_that_cannot_be_written_is_refused_before_drawing(shell, monkeypatch):
    Path("taken").write_text("a file")
    monkeypatch.setattr(
        "labml_sd.cli.draw.txt2img", lambda *_, **__: pytest.fail("drew in vain")
    )
    code, _, (told,) = shell("txt2img", "a", "--outdir", "taken/pictures")
    assert code == 2 and "is not a folder" in told


def test_only_txt2img_pictures_are_drawn_again(shell, photo):
    photo(16, 16).save("in.png")
    _, out, _ = shell("img2img", "a", "--init-image", "in.png", "--steps", 1)
    code, _, err = shell("txt2img", "--from-image", out[0])
    assert code == 2 and "drawn by img2img" in err[0]


def test_drawing_again_with_another_model_of_the_same_name_warns(shell):
    drawn = GenerationParameters(
        prompt="a house",
        settings={"seed": 1, "steps": 1},
        model="tiny",
        model_hash="0123456789",
    )
    save_images([attach(Image.new("RGB", (8, 8)), drawn)], ".")
    code, _, err = shell("txt2img", "--from-image", "00000.png")
    assert code == 0 and err == [
        "labml-sd: warning: drawn by model 0123456789, this is not from a file"
    ]


def test_a_picture_of_another_model_asks_for_its_file(shell):
    _, out, _ = shell("txt2img", "a house", "--steps", 1)
    code, _, err = shell("txt2img", "--from-image", out[0])
    assert code == 2 and "drawn by model small: give its file as --model" in err[0]


@pytest.mark.parametrize(
    "raised, code, message",
    [
        (KeyboardInterrupt(), 130, "labml-sd: error: interrupted"),
        (
            RuntimeError("CUDA out of memory.\nTried"),
            2,
            "labml-sd: error: out of memory: make fewer",
        ),
        (OSError(28, "No space left"), 2, "labml-sd: error: OSError: [Errno 28] No space left"),
        (
            TypeError("two\nlines"),
            2,
            "labml-sd: error: TypeError: two lines; this is a fault of labml_sd",
        ),
    ],
    ids=["Ctrl-C", "memory", "disk", "bug"],
)
def test_any_exception_is_one_line_without_a_stack_trace(
    shell, monkeypatch, raised, code, message
):
    def fail(*arguments, **options):
        raise raised

    monkeypatch.setattr("labml_sd.cli.draw.txt2img", fail)
    result, _, err = shell("txt2img", "a")
    assert result == code and len(err) == 1 and err[0].startswith(message)


def test_a_prompt_that_is_too_long_warns_in_one_line(shell, recwarn):
    code, _, err = shell("txt2img", "a red house " * 2000, "--steps", 1, "--seed", 1)
    assert code == 0 and len(err) == 1 and err[0].startswith("labml-sd: warning: ")


def test_a_larger_picture_is_read_with_a_flag(shell, photo):
    photo(40, 32).save("in.png")
    arguments = ["img2img", "a", "--init-image", "in.png", "--steps", 1, "--max-pixels"]
    code, _, (told,) = shell(*arguments, 1279)
    assert (
        code == 2
        and "40x32 pixels; make it smaller, at most 1,279, or raise max_pixels (--max-pixels"
        in told
    )
    code, drawn, _ = shell(*arguments, 1280)
    assert code == 0
    assert shell("inspect", drawn[0], "--max-pixels", 1279)[0] == 2
    assert shell("inspect", drawn[0], "--max-pixels", 1280)[0] == 0


def test_the_help_text_states_the_limit_in_use(shell):
    assert f"({MAX_PIXELS})" in " ".join(shell("txt2img", "--help")[1])


def test_the_first_picture_of_an_animation_is_taken_with_a_warning(shell, photo, recwarn):
    photo(32, 32).save(
        "in.png", save_all=True, append_images=[photo(32, 33).crop((0, 0, 32, 32))]
    )
    code, out, err = shell("img2img", "a", "--init-image", "in.png", "--steps", 1, "--seed", 1)
    assert (code, len(out)) == (0, 1)
    assert err == ["labml-sd: warning: in.png holds 2 pictures: the first is taken"]


def test_a_path_that_is_not_text_is_printed_as_its_bytes(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    print("before")
    print_path(Path(os.fsdecode(b"caf\xe9/00000.png")))
    stdout.flush()
    assert stdout.buffer.getvalue() == b"before\ncaf\xe9/00000.png\n"


def test_if_the_disk_fills_up_the_saved_paths_are_printed(shell, monkeypatch):
    def save(images, outdir, number):
        saved = save_images(images, outdir, number=number)
        monkeypatch.setattr("labml_sd.cli.saving.save_images", full)
        return saved

    def full(images, outdir, number):
        raise ImageError(
            "cannot write to outputs (No space left on device): choose another folder"
        )

    monkeypatch.setattr("labml_sd.cli.saving.save_images", save)
    code, out, err = shell("txt2img", "a", "--steps", 1, "--seed", 1, "--n-samples", 2)
    assert (code, out, len(err)) == (2, [os.path.join("outputs", "00000.png")], 1)


@pytest.mark.parametrize("name", ["\x1b[2J.png", "a\nb.png", "\x9b.png", "\u202e.png"])
def test_a_file_name_cannot_send_codes_to_the_terminal(shell, name):
    code, _, (told,) = shell("inspect", name)
    assert code == 2 and told.isprintable()


def test_a_model_hash_cannot_send_codes_to_the_terminal(shell):
    drawn = GenerationParameters(
        prompt="a house",
        settings={"seed": 1, "steps": 1},
        model="tiny",
        model_hash="\x1b[31m",
    )
    save_images([attach(Image.new("RGB", (8, 8)), drawn)], ".")
    code, _, (told,) = shell("txt2img", "--from-image", "00000.png")
    assert code == 0 and told.isprintable() and r"\x1b[31m" in told


@pytest.mark.parametrize(
    "prompt", ["\x1b]0;title\x07", "\x9b2J", "a\u202eb", "half \ud800", "two\rlines", "\x85"]
)
def test_a_prompt_cannot_send_codes_to_the_terminal(shell, prompt):
    (path,) = save_images(
        [attach(Image.new("RGB", (8, 8)), GenerationParameters(prompt=prompt))], "."
    )
    code, lines, _ = shell("inspect", path)
    shown = dict(line.split(":", 1) for line in lines)
    assert code == 0 and all(line.isprintable() for line in lines)
    assert json.loads(shown["prompt"]) == prompt


def test_inspect_shows_a_pictures_parameters(shell):
    _, out, _ = shell("txt2img", "two\nlines", "--steps", 2, "--seed", 7)
    code, lines, _ = shell("inspect", out[0])
    shown = dict(line.split(":", 1) for line in lines)
    assert code == 0
    assert (json.loads(shown["prompt"]), shown["seed"].strip(), shown["steps"].strip()) == (
        "two\nlines",
        "7",
        "2",
    )


def test_inspect_knows_the_bundled_model(shell):
    code, out, err = shell("inspect", "tiny")
    assert (code, err) == (0, []) and any(line.split()[0] == "unet" for line in out)


def test_a_file_that_may_not_be_read_is_one_line(shell, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cli_show, "_is_picture", refuse)  # root may read everything
    code, out, err = shell("inspect", "in.png")
    message = "labml-sd: error: in.png cannot be read (Permission denied)"
    assert (code, out, err) == (2, [], [message])


def test_env_names_versions_and_devices_one_line_each(shell):
    code, lines, err = shell("env")
    shown = dict(line.split(":", 1) for line in lines)
    assert (code, err) == (0, [])
    assert {
        "python",
        "labml_sd",
        "torch",
        "transformers",
        "devices",
        "threads",
        "memory",
        "attention",
        "bundled model",
    } <= set(shown)
    assert "cpu" in shown["devices"]
    bf16, f32 = which_kernel(torch.bfloat16), which_kernel(torch.float32)
    assert shown["attention"].strip() == f"on the CPU: in bfloat16 {bf16}, in float32 {f32}"


def test_a_missing_package_is_not_installed():
    assert cli_show._version("labml-sd-no-such-package") == "not installed"


@pytest.mark.parametrize(
    "command", ["txt2img", "img2img", "inpaint", "train", "inspect", "env"]
)
def test_every_command_has_help(shell, command):
    code, out, _ = shell(command, "--help")
    assert code == 0 and out[0].startswith(f"usage: labml-sd {command}")


def test_the_version_is_shown(shell):
    assert shell("--version")[:2] == (0, [f"labml-sd {labml_sd.__version__}"])


def test_help_shows_each_flag_once_under_its_main_name(shell):
    _, out, _ = shell("inpaint", "--help")
    shown = [line.split()[0].rstrip(",") for line in out if line.startswith("  -")]
    assert (
        len(shown) == len(set(shown))
        and "--guidance-scale" in shown
        and "--guidance_scale" not in shown
    )


def test_the_program_draws_with_a_saved_model_and_inspects_it(model, tmp_path):
    save_model(model, tmp_path / "m", layout="diffusers")

    def program(*arguments):
        command = [sys.executable, "-m", "labml_sd", *arguments]
        where = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
        return subprocess.run(
            command, cwd=tmp_path, env=where, capture_output=True, text=True, check=False
        )

    drawn = program(
        "txt2img",
        "a house",
        "--model",
        "m",
        "--steps",
        "2",
        "--seed",
        "3",
        "--dtype",
        "float32",
    )
    assert (drawn.returncode, drawn.stderr, drawn.stdout) == (0, "", "outputs/00000.png\n")
    assert read_parameters(tmp_path / "outputs/00000.png").model_hash == model_hash(
        tmp_path / "m"
    )
    failed = program("txt2img", "a house", "--model", "none.safetensors")
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith(
        "labml-sd: error: none.safetensors"
    )
    assert "Traceback" not in failed.stderr
