"""What holds whatever is asked for: hypothesis looks for the call that breaks it."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from labml_sd.errors import LabmlSdError
from labml_sd.images.masks import load_mask
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.parameters import read_parameters
from labml_sd.pipeline.request import check_size, make_request
from labml_sd.sampler import SAMPLERS, TOOLS
from labml_sd.settings import check_settings, described

N_CALLS = 12  # of each test; a few hundred by hand, after a change of the pipelines
FUZZ = Path(__file__).with_name("fuzz.py")
# A failing call is not made smaller: that draws hundreds of pictures more.
CALLS = settings(
    max_examples=N_CALLS,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)

TEXTS = st.text(st.characters(exclude_categories=()), max_size=15)  # lone surrogates too
STRENGTHS = st.sampled_from([0, 1, 5e-324, 1e-9, 0.999999]) | st.floats(0, 1)
SIDES = st.integers(1, 70)
MODES = st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])


@st.composite
def settings_of_a_run(draw):
    """Any settings that all three tasks take."""
    tool = draw(st.sampled_from([None, None, *TOOLS]))
    # The tools run DDPM over all thousand levels, whatever is asked for.
    samplers = [*SAMPLERS] if tool is None else [name for name in TOOLS[tool] if name != "ddpm"]
    chosen = {
        "sampler": draw(st.sampled_from(samplers)),
        "compat": tool,
        "steps": draw(st.sampled_from([*range(1, 6)] * 3 + [12, 30])),
        "negative_prompt": draw(TEXTS),
        "seed": draw(st.integers(0, 2**64 - 4)),
        "noise": draw(st.sampled_from(["cpu", "cuda"])),
        "n_images": draw(st.integers(1, 3)),
        "guidance_scale": draw(st.sampled_from([0, 1]) | st.floats(-2, 12)),
        "guidance_rescale": draw(st.just(0.0) | st.floats(0, 1)),
        "guidance_interval": draw(st.none() | st.tuples(st.floats(0, 2), st.floats(2, 20))),
    }
    if draw(st.booleans()):
        chosen |= {
            "variation_seed": draw(st.integers(0, 2**40)),
            "variation_strength": draw(st.floats(0, 1)),
        }
    return chosen


def picture(size, mode="RGB"):
    """Pixels of every kind, in any mode."""
    values = (
        np.random.default_rng(size[0] * 1000 + size[1]).integers(0, 3, (size[1], size[0], 3))
        * 127
    )
    coloured = Image.fromarray(values.astype(np.uint8))
    return coloured.convert("L").convert(mode) if mode == "I;16" else coloured.convert(mode)


def bits(images):
    return [image.tobytes() for image in images]


def n_run(model, chosen, strength=None):
    """The documented number of steps: all of them for a text, with `compat` the tool's rule."""
    if strength == 0:
        return 0
    if chosen["compat"] is not None:
        request = make_request(model, "", chosen, strength=strength or 1)
        return len(request.levels if strength is None else request.start()[1]) - 1
    strength = 1 if strength is None else strength
    return max(1, math.floor(strength * chosen["steps"] + 1e-6))


def drawn_twice(task, model, prompt, *inputs, chosen, **options):
    """The pictures of a call, its steps, and the first, drawn again by its parameters."""
    seen = []
    images = task(
        model, prompt, *inputs, on_step=seen.append, progress=False, **chosen, **options
    )
    p = read_parameters(images[0])
    recorded = dict(p.settings)
    if task is not txt2img:
        recorded["strength"] = p.strength
    as_many = {
        "n_images": chosen["n_images"]
    }  # in a batch of another size the arithmetic rounds otherwise
    again = task(model, p.prompt, *inputs, progress=False, **recorded, **as_many)
    assert bits(again) == bits(images)
    return images, len(seen)


@CALLS
@given(settings_of_a_run(), TEXTS, st.integers(1, 4), st.integers(1, 4))
def test_every_text_becomes_pictures_that_draw_themselves_again(
    model, chosen, prompt, rows, columns
):
    options = {"height": 16 * rows, "width": 16 * columns}
    images, n_steps = drawn_twice(txt2img, model, prompt, chosen=chosen, **options)
    assert [(i.size, i.mode) for i in images] == [((16 * columns, 16 * rows), "RGB")] * chosen[
        "n_images"
    ]
    assert n_steps == n_run(model, chosen)


@CALLS
@given(settings_of_a_run(), TEXTS, st.tuples(SIDES, SIDES), MODES, STRENGTHS)
def test_every_picture_keeps_its_size_and_runs_its_share_of_the_steps(
    model, chosen, prompt, size, mode, strength
):
    image = picture(size, mode)
    images, n_steps = drawn_twice(
        img2img, model, prompt, image, chosen=chosen, strength=strength
    )
    assert [(i.size, i.mode) for i in images] == [(size, "RGB")] * chosen["n_images"]
    assert n_steps == n_run(model, chosen, strength)


@CALLS
@given(settings_of_a_run(), TEXTS, st.tuples(SIDES, SIDES), MODES, STRENGTHS)
def test_under_every_mask_the_kept_pixels_keep_their_bits(
    model, chosen, prompt, size, mode, strength
):
    image, mask = picture(size), picture(size, mode)
    kept = np.asarray(load_mask(mask, size)) == 0
    images, n_steps = drawn_twice(
        inpaint, model, prompt, image, mask, chosen=chosen, strength=strength
    )
    assert all(np.array_equal(np.asarray(i)[kept], np.asarray(image)[kept]) for i in images)
    assert [(i.size, i.mode) for i in images] == [(size, "RGB")] * chosen["n_images"]
    assert n_steps == n_run(model, chosen, strength)


ANYTHING = (
    *(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers().map(lambda n: n * 10**4400),
        st.floats(),
        TEXTS,
    ),
    *(st.binary(max_size=5), st.lists(st.floats() | st.integers() | TEXTS, max_size=3)),
)
TAKEN = (*described(), "strength")
GOOD = {"sampler": "ddim", "steps": 4, "seed": 7}


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(TAKEN), st.one_of(ANYTHING), max_size=3))
def test_what_is_refused_is_refused_in_one_line(model, wrong):
    try:
        strength = wrong.pop("strength", 1.0)
        make_request(model, "a", {**GOOD, **wrong}, strength=strength)
    except LabmlSdError as error:
        assert str(error).isprintable() and len(str(error)) < 1000


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.one_of(ANYTHING), st.one_of(ANYTHING))
def test_a_size_is_refused_in_one_line_or_can_be_drawn(small_config, height, width):
    try:
        size = check_size(small_config, check_settings({"height": height, "width": width}))
    except LabmlSdError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
    else:
        assert all(side > 0 and side % 16 == 0 for side in size)


@pytest.mark.parametrize(
    ("count", "seed"), [(100, 0), pytest.param(3000, 1, marks=pytest.mark.slow)]
)
def test_wrong_arguments_end_in_our_errors_and_no_others(count, seed):
    # In a process of its own: here the annotations are checked, and would refuse most of them
    # first.
    command = [sys.executable, str(FUZZ), "--count", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{count} calls, 0 kinds of complaint\n", 0)
