"""Ctrl-C at any line of any stage: no partial file, and the model draws the same pictures."""

from functools import partial
from pathlib import Path
from random import Random

import pytest
from ctrl_c import CtrlC
from marks import slow
from PIL import Image

from labml_sd.checkpoint import load_model, save_model
from labml_sd.images import writing as image_writing
from labml_sd.images.tensors import save_images
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.parameters import GenerationParameters, attach, read_parameters

QUICK = {"steps": 3, "progress": False}


def bits(images):
    return [image.tobytes() for image in images]


def half_mask():
    mask = Image.new("L", (32, 32))
    mask.paste(255, (16, 0, 32, 32))
    return mask


TASKS = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}
STAGES = [
    "encode_chunks",
    "encode",
    "noise_source",
    "sample",
    "step",
    "decode",
    "to_pil",
    "attach_parameters",
]


@pytest.mark.parametrize("fast", [True, *slow(False)])
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_any_stage_leaves_a_model_that_draws_the_same_bits(
    make_model, photo, stage, fast
):
    rng = Random(f"{stage} {fast}")
    name = "inpaint" if stage == "encode" else rng.choice(list(TASKS))
    inputs = {
        "txt2img": (),
        "img2img": (photo(32, 32),),
        "inpaint": (photo(32, 32), half_mask()),
    }
    used, untouched = make_model(), make_model()
    used.fast = untouched.fast = fast
    draw = [
        partial(TASKS[name], model, "a house", *inputs[name], **QUICK)
        for model in (used, untouched)
    ]
    assert CtrlC(rng.randrange(1, 9), stage).during(draw[0])
    assert bits(draw[0]()) == bits(draw[1]())


def test_ctrl_c_while_a_model_loads_leaves_nothing_that_hinders_the_next_load(model, tmp_path):
    save_model(model, tmp_path / "m", layout="diffusers")
    load = partial(load_model, tmp_path / "m", device="cpu")
    for n in Random(0).sample(range(1, 2000), 6):
        assert CtrlC(n).during(load)
    assert bits(txt2img(load(), "a house", **QUICK)) == bits(txt2img(model, "a house", **QUICK))


def pictures():
    parameters = GenerationParameters(prompt="a house", settings={"seed": 1, "steps": 1})
    return [attach(Image.new("RGB", (8, 8), colour), parameters) for colour in ("red", "blue")]


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # Ctrl-C can come between open and with
@pytest.mark.parametrize("links", [True, False])
def test_ctrl_c_at_any_line_of_saving_leaves_whole_pictures_and_nothing_else(
    tmp_path, monkeypatch, links
):
    if not links:  # as on a file system that has none

        def refuse(source: Path, target: Path) -> None:
            if Path(target).exists():
                raise FileExistsError
            raise PermissionError

        monkeypatch.setattr(image_writing.os, "link", refuse)
    n_found, n = [], 0
    while True:
        n, folder = n + 1, tmp_path / str(n)
        stopped = CtrlC(n, file="images/writing.py").during(
            partial(save_images, pictures(), folder)
        )
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        assert names == [f"{i:05d}.png" for i in range(len(names))]
        assert [read_parameters(folder / name).prompt for name in names] == ["a house"] * len(
            names
        )
        n_found.append(len(names))
        if not stopped:
            break
    assert set(n_found) == {0, 1, 2} and n_found[-1] == 2
