"""Lists of prompts and pictures: shared, resumed, and what happens if one cannot be drawn."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from labml_sd import txt2img
from labml_sd.cli import draw as cli_draw
from labml_sd.errors import GenerationError
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import save_images
from labml_sd.pipeline.parameters import read_parameters

PROMPTS = ["a house", "a boat", "a tree", "a car", "the moon"]
LIST = ["txt2img", "--prompt-file", "p.txt", "--steps", 2, "--seed", 7]
FOLDER = ["img2img", "a house", "--init-image", "photos", "--steps", 2, "--seed", 7]


@pytest.fixture
def inputs(tmp_path, photo):
    """The prompts, and a folder of pictures in which the third is damaged."""
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "photos").mkdir()
    for i, name in enumerate(["a.png", "b.jpg", "c.png", "d.PNG", "e.webp"]):
        photo(40 + i, 32).save(tmp_path / "photos" / name)
    whole = (tmp_path / "photos/c.png").read_bytes()
    (tmp_path / "photos/c.png").write_bytes(whole[:200])
    (tmp_path / "photos/notes.txt").write_text("no picture")
    (tmp_path / "photos/.hidden.png").write_text("no picture")
    return whole


@pytest.fixture
def process(shell, inputs, monkeypatch):
    """Runs a command line as one of several processes."""

    def run(rank, count, *arguments):
        with monkeypatch.context() as patch:
            patch.setenv("RANK", str(rank))
            patch.setenv("WORLD_SIZE", str(count))
            return shell(*arguments)

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def names(*numbers):
    return [f"{number:05d}.png" for number in numbers]


def files(lines):
    return [Path(line).name for line in lines]


def test_each_picture_of_a_list_has_the_seed_of_its_place(shell, inputs, model):
    code, out, err = shell(*LIST, "--n-samples", 2)
    assert (code, files(out), err) == (0, names(*range(10)), [])
    for i, prompt in enumerate(PROMPTS):
        drawn = txt2img(model, prompt, seed=7 + 2 * i, steps=2, n_images=2, progress=False)
        for path, image in zip(out[2 * i : 2 * i + 2], drawn, strict=True):
            assert read_picture(path).tobytes() == image.tobytes()
    together = txt2img(model, PROMPTS, seed=7, steps=2, n_images=2, progress=False)
    assert [read_parameters(p).seed for p in out] == [
        read_parameters(image).seed for image in together
    ]


def test_variations_of_a_list_count_their_variation_seed(shell, inputs):
    flags = ["--variation-seed", 30, "--variation-strength", 0.5, "--n-samples", 2]
    _, out, _ = shell(*LIST, *flags)
    drawn = [read_parameters(path) for path in out]
    assert {each.seed for each in drawn} == {7}
    assert [each.variation_seed for each in drawn] == list(range(30, 40))
    os.remove("outputs/00005.png")
    assert files(shell(*LIST, *flags, "--resume")[1]) == names(5)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("command", [LIST, FOLDER], ids=["prompts", "pictures"])
def test_processes_draw_the_files_of_one_each_once(shell, process, command, count):
    shell(*command, "--n-samples", 2)
    runs = [
        process(rank, count, *command, "--n-samples", 2, "--outdir", "shared")
        for rank in reversed(range(count))
    ]
    assert contents("shared") == contents("outputs")
    told = files(line for _, out, _ in runs for line in out)
    assert sorted(told) == sorted(contents("outputs")) and len(told) in (8, 10)


@pytest.mark.parametrize("command", [LIST, FOLDER], ids=["prompts", "pictures"])
@pytest.mark.parametrize("before", [0, 3])
def test_a_list_goes_on_where_it_stopped(shell, process, photo, command, before):
    if before:  # the list begins after what is there
        save_images([photo(8, 8)] * before, "outputs")
    shell(*command, "--n-samples", 2)
    whole = contents("outputs")
    lost = names(before + 1, before + 6, before + 7, before + 9)
    for name in lost:
        os.remove(f"outputs/{name}")
    kept = {path: path.stat().st_ino for path in Path("outputs").iterdir()}
    shutil.copytree("outputs", "others")
    resumed = [*command, "--n-samples", 2, "--resume"]
    assert files(shell(*resumed)[1]) == lost
    assert contents("outputs") == whole
    assert all(path.stat().st_ino == number for path, number in kept.items())
    runs = [process(rank, 3, *resumed, "--outdir", "others") for rank in range(3)]
    assert sorted(files(line for _, out, _ in runs for line in out)) == lost
    assert contents("others") == whole
    assert shell(*resumed)[1] == []


def test_without_resume_a_list_is_drawn_again_after_the_highest_number(shell, inputs):
    _, first, _ = shell(*LIST)
    _, second, _ = shell(*LIST)
    assert files(second) == names(*range(5, 10))
    for old, new in zip(first, second, strict=True):
        assert Path(old).read_bytes() == Path(new).read_bytes()
    os.remove(second[1])
    assert shell(*LIST, "--resume")[1] == [second[1]]


def test_a_program_that_saves_meanwhile_is_not_overwritten(shell, inputs, monkeypatch):
    def draw(*arguments, **settings):
        images = txt2img(*arguments, **settings)
        if settings["seed"] == 8:
            save_images([Image.new("RGB", (8, 8))], "outputs")
        return images

    monkeypatch.setattr(cli_draw, "txt2img", draw)
    _, out, _ = shell(*LIST)
    assert files(out) == names(0, 2, 3, 4, 5)
    assert read_picture("outputs/00001.png").size == (8, 8)


CHANGES = {
    "steps": (["--steps", 3], "steps is 2 there, 3 here"),
    "size": (["--width", 64], "width is 32 there, 64 here"),
    "negative prompt": (["--negative", "red"], "negative_prompt is '' there, 'red' here"),
    "another seed": (["--seed", 70], "its pictures have other seeds"),
}


@pytest.mark.parametrize("flags, told", CHANGES.values(), ids=CHANGES.keys())
def test_a_folder_of_another_list_is_refused(shell, inputs, flags, told):
    shell(*LIST)
    before = contents("outputs")
    code, out, (line,) = shell(*LIST, *flags, "--resume")
    assert (code, out) == (2, []) and told in line
    assert line.startswith("labml-sd: error: outputs holds no picture of this list")
    assert contents("outputs") == before


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_prompt_that_was_changed_is_told(process, n_processes):
    process(0, 1, *LIST)
    Path("p.txt").write_text("\n".join([*PROMPTS[:2], "a bush", *PROMPTS[3:]]))
    code, out, (line,) = process(0, n_processes, *LIST, "--resume")
    assert (code, out) == (2, [])
    assert "outputs/00002.png is not of this list" in line
    assert "prompt is 'a tree' there, 'a bush' here" in line


def test_a_picture_that_was_changed_is_told(shell, inputs, photo):
    shell(*FOLDER)
    photo(41, 32).save("photos/aa.png")  # moves the others on by one place
    code, out, (line,) = shell(*FOLDER, "--resume")
    assert (code, out) == (2, []) and "init_image_sha256 is" in line


@pytest.mark.parametrize("flag", [["--strength", 0.3], ["--strength", 0]])
def test_the_strength_belongs_to_a_list(shell, inputs, flag):
    shell(*FOLDER)
    code, _, (line,) = shell(*FOLDER, *flag, "--resume")
    assert code == 2 and "strength is 0.75 there" in line


def test_a_list_of_repairs_goes_on(shell, inputs, photo):
    photo(48, 32).save("in.png")
    Image.new("L", (48, 32), 255).save("mask.png")
    command = ["inpaint", *LIST[1:], "--init-image", "in.png", "--mask", "mask.png"]
    _, out, _ = shell(*command, "--height", 64)
    whole = contents("outputs")
    os.remove(out[2])
    assert shell(*command, "--height", 64, "--resume")[1] == [out[2]]
    assert contents("outputs") == whole
    Image.new("L", (48, 32), 254).save("mask.png")
    code, _, (line,) = shell(*command, "--height", 64, "--resume")
    assert code == 2 and "mask_sha256 is" in line


def test_prompts_go_with_the_pictures_of_a_folder(shell, inputs):
    command = ["img2img", "--prompt-file", "p.txt", *FOLDER[2:]]
    _, out, _ = shell(*command)
    assert [read_parameters(path).prompt for path in out] == [*PROMPTS[:2], *PROMPTS[3:]]
    assert [read_parameters(path).width for path in out] == [40, 41, 43, 44]


def test_a_damaged_picture_is_told_and_the_others_are_drawn(shell, inputs):
    code, out, (line,) = shell(*FOLDER, "--n-samples", 2)
    assert (code, files(out)) == (2, names(0, 1, 2, 3, 6, 7, 8, 9))
    assert line.startswith("labml-sd: error: not drawn: 00004.png and 1 more (photos/c.png is ")
    assert line.endswith("; --resume --seed 7 draws the rest")
    Path("photos/c.png").write_bytes(inputs)
    code, out, err = shell(*FOLDER, "--n-samples", 2, "--resume")
    assert (code, files(out), err) == (0, names(4, 5), [])


def test_without_memory_for_one_picture_the_others_are_drawn(process, monkeypatch):
    def draw(model, prompt, **settings):
        if prompt in ("a boat", "a car"):
            raise GenerationError(f"out of memory with {prompt[:2]}picture")
        return txt2img(model, prompt, **settings)

    monkeypatch.setattr(draw, "__name__", "txt2img")
    monkeypatch.setattr(cli_draw, "txt2img", draw)
    code, out, (line,) = process(1, 2, *LIST)
    assert (code, out) == (2, [])
    assert "not drawn: 00001.png and 1 more (out of memory with a picture)" in line
    code, out, err = process(0, 2, *LIST)
    assert (code, files(out), err) == (0, names(0, 2, 4), [])


def test_many_reasons_fit_on_a_line(shell, inputs, monkeypatch):
    def draw(model, prompt, **settings):
        raise GenerationError(f"no {prompt}")

    monkeypatch.setattr(cli_draw, "txt2img", draw)
    _, _, (line,) = shell(*LIST)
    assert "00000.png (no a house), 00001.png (no a boat), 00002.png (no a tree), 2 mo" in line


def test_a_random_seed_is_told_once_so_that_the_list_can_go_on(shell, inputs):
    _, out, (told,) = shell(*LIST[:-2])
    seed = read_parameters(out[0]).seed
    assert told == f"seed {seed}"
    whole = contents("outputs")
    os.remove(out[3])
    assert shell(*LIST[:-1], seed, "--resume")[1] == [out[3]]
    assert contents("outputs") == whole


ERRORS = {
    "resume without seed": (1, [*LIST[:-2], "--resume"], "--resume needs the seed"),
    "processes without seed": (2, LIST[:-2], "several processes need the same seed"),
    "standard input": (2, ["txt2img", "--prompt-file", "-"], "cannot read one standard input"),
    "no list": (2, ["txt2img", "a", "--seed", "1"], "there is no list to share"),
    "number": ("two", LIST, "WORLD_SIZE is 'two': set both"),
    "rank": (1.5, LIST, "RANK is '0' and WORLD_SIZE is '1.5'"),
    "steps": (2, [*LIST, "--steps", "0"], "steps is 0"),
    "last seed": (1, [*LIST[:-1], 2**64 - 4], "seed is 18446744073709551616"),
    "other numbers": (
        1,
        ["img2img", "--prompt-file", "two.txt", *FOLDER[2:]],
        "2 prompts for 5 pictures",
    ),
    "no pictures": (1, ["img2img", "a", "--init-image", "empty"], "empty holds no PNG"),
    "the same folder": (1, [*FOLDER, "--outdir", "./photos"], "would get the new pictures"),
    "in-painting": (1, ["inpaint", *FOLDER[1:]], "photos is not a file"),
}


@pytest.mark.parametrize("count, arguments, message", ERRORS.values(), ids=ERRORS.keys())
def test_what_cannot_be_shared_or_resumed_is_one_line(process, count, arguments, message):
    Path("two.txt").write_text("a\nb\n")
    Path("empty").mkdir()
    code, out, (line,) = process(0, count, *arguments)
    assert (code, out) == (2, []) and message in line


def test_each_process_takes_its_own_gpu(process, monkeypatch):
    def stop(*_, **__):
        raise GenerationError("far enough")

    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(cli_draw, "load_model", stop)
    for rank in range(3):
        process(rank, 3, *LIST)
    monkeypatch.setenv("LOCAL_RANK", "1")
    process(2, 3, *LIST)
    process(0, 1, *LIST)
    assert chosen == [0, 1, 0, 1]
