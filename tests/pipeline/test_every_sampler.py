"""What holds for every sampler through the pipelines that a user calls."""

from functools import partial
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from labml_sd.images.tensors import load_img, pad_to_multiple, to_pil
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.sampler import SAMPLERS, NoiseSource, add_noise, get_sampler

N_STEPS = 4
TASKS = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}


def half_mask(width, height):
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


@pytest.fixture
def task(photo):
    """A task with everything but the model and the sampler's name given."""

    def bound(name):
        inputs = {
            "txt2img": (),
            "img2img": (photo(32, 32),),
            "inpaint": (photo(32, 32), half_mask(32, 32)),
        }
        call, given = TASKS[name], inputs[name]

        def run(model, sampler, **options):
            images = call(
                model, "a house", *given, sampler=sampler, steps=3, progress=False, **options
            )
            return [image.tobytes() for image in images]

        return run

    return bound


def interrupt_after(step, run):
    """Ctrl-C while the callback of a step runs."""

    def on_step(seen):
        if seen.index == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_step=on_step)


def break_within(step, run, model):
    """An error inside the network, at the first evaluation of a step."""
    n_done = 0

    def count(seen):
        nonlocal n_done
        n_done = seen.index + 1

    def fail(module, arguments):
        if n_done == step:
            raise RuntimeError("the network broke")

    hook = model.unet.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="the network broke"):
            run(on_step=count)
    finally:
        hook.remove()


EACH_TASK = [
    pytest.param(name, sampler, marks=[] if (i + j) % 3 == 0 else [pytest.mark.slow])
    for i, sampler in enumerate(SAMPLERS)
    for j, name in enumerate(TASKS)
]
"""By default one task for each sampler."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sampler"), EACH_TASK)
def test_a_run_interrupted_at_any_step_leaves_a_model_that_draws_as_a_fresh_one(
    make_model, task, name, sampler
):
    run, used = task(name), make_model()
    # Of three steps img2img runs two at its usual strength.
    step = Random(f"{name} {sampler}").randrange(2)
    interrupt_after(step, partial(run, used, sampler))
    after_ctrl_c = run(used, sampler)
    break_within(step, partial(run, used, sampler), used)
    after_an_error = run(used, sampler)
    assert after_ctrl_c == after_an_error == run(make_model(), sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_strength_0_is_the_round_trip_whatever_the_sampler(model, photo, sampler):
    image, steps = photo(32, 32), []
    (drawn,) = img2img(
        model,
        "a house",
        image,
        strength=0,
        sampler=sampler,
        steps=N_STEPS,
        on_step=steps.append,
    )
    z = model.encode_image(pad_to_multiple(load_img(image), 16))
    assert drawn.tobytes() == to_pil(model.decode_latent(z))[0].tobytes() and steps == []


class Seen(Exception):
    """Carries the first latent that the network is given, and its time."""


@pytest.mark.parametrize(("strength", "n_run"), [(0.01, 1), (0.5, 2), (1, 4)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_is_noised_to_the_level_of_the_first_of_its_share_of_the_steps(
    model, photo, sampler, strength, n_run
):
    image, steps, first = photo(32, 32), [], []
    hook = model.unet.register_forward_pre_hook(lambda _, arguments: first.append(arguments))
    options = {
        "strength": strength,
        "sampler": sampler,
        "steps": N_STEPS,
        "seed": 5,
        "progress": False,
    }
    try:
        img2img(model, "a house", image, on_step=steps.append, **options)
    finally:
        hook.remove()
    level = get_sampler(sampler).levels(model.schedule, N_STEPS)[N_STEPS - n_run]
    z = model.encode_image(load_img(image))
    expected = add_noise(z, NoiseSource([5], tuple(z.shape[1:])).draw(), level)
    assert len(steps) == n_run and steps[0].t == level.t == first[0][1][0].item()
    torch.testing.assert_close(first[0][0][:1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("strength", [0.01, 1])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_in_painting_keeps_the_kept_pixels_to_the_bit(model, photo, sampler, strength):
    image, mask = photo(45, 27), half_mask(45, 27)
    options = {"strength": strength, "sampler": sampler, "steps": N_STEPS, "progress": False}
    painted, before = (
        np.asarray(i) for i in (inpaint(model, "a house", image, mask, **options)[0], image)
    )
    kept = np.asarray(mask) == 0
    assert np.array_equal(painted[kept], before[kept])
    assert (painted[~kept] != before[~kept]).any(axis=-1).mean() > 0.8
