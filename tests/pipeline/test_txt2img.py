import warnings
from inspect import unwrap

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError, PromptError
from labml_sd.image import save_images
from labml_sd.metadata import read_parameters
from labml_sd.pipeline import txt2img
from labml_sd.sampler import DDIM, SAMPLERS

QUICK = {"steps": 3, "progress": False}


def bits(images):
    return [image.tobytes() for image in images]


def final_latents(model, prompt, **options):
    """The latents of a run after its last step: finer to compare than pixels."""
    steps = []
    txt2img(model, prompt, on_step=steps.append, **{**QUICK, **options})
    return steps[-1].x


def test_sizes_left_out_are_the_models_own(model):
    (image,) = txt2img(model, "a house", **QUICK)
    assert (image.size, image.mode) == ((32, 32), "RGB")


def test_height_and_width_are_not_swapped(model):
    assert txt2img(model, "a house", height=32, width=48, **QUICK)[0].size == (48, 32)


def test_a_call_repeated_gives_the_same_bits(model):
    assert bits(txt2img(model, "a house", **QUICK)) == bits(txt2img(model, "a house", **QUICK))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_depends_on_its_seed_and_not_on_its_neighbours(model, sampler):
    together = final_latents(model, ["a house", "a boat"], n_images=2, seed=10, sampler=sampler)
    alone = final_latents(model, "a boat", seed=13, sampler=sampler)
    torch.testing.assert_close(alone, together[3:], rtol=0, atol=1e-5 * float(together.abs().max()))


def test_other_seeds_prompts_negative_prompts_and_scales_give_other_pictures(model):
    changes = [
        {},
        {"seed": 1},
        {"prompt": "a boat"},
        {"negative_prompt": "snow"},
        {"guidance_scale": 1.0},
        {"sampler": "ddim"},
    ]
    drawn = [bits(txt2img(model, **{"prompt": "a house", **QUICK, **change}))[0] for change in changes]
    assert len(set(drawn)) == len(changes)


def test_at_guidance_scale_1_the_negative_prompt_says_nothing(model):
    drawn = [txt2img(model, "a house", negative_prompt=n, guidance_scale=1, **QUICK) for n in ("", "snow")]
    assert bits(drawn[0]) == bits(drawn[1])


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_exactly_the_steps_asked_for_are_run(model, steps):
    seen = []
    txt2img(model, "a house", steps=steps, on_step=seen.append, progress=False)
    assert [(s.index, s.n_steps) for s in seen] == [(i, steps) for i in range(steps)]


def test_the_parameters_of_each_picture_are_attached(model):
    images = txt2img(model, ["a house", "a boat"], negative_prompt="snow", seed=5, height=48, **QUICK)
    read = [read_parameters(image) for image in images]
    assert [(p.prompt, p.seed) for p in read] == [("a house", 5), ("a boat", 6)]
    first = read[0]
    assert (first.task, first.negative_prompt, first.steps, first.sampler) == (
        "txt2img",
        "snow",
        3,
        "dpmpp_2m",
    )
    assert (first.width, first.height, first.guidance_scale, first.strength) == (32, 48, 3.0, None)
    assert (first.model, first.model_hash, first.dtype) == ("small", None, "float32")


def test_a_random_seed_is_stored_and_draws_the_picture_again(model):
    (image,) = txt2img(model, "a house", seed=None, **QUICK)
    again = txt2img(model, "a house", seed=read_parameters(image).seed, **QUICK)
    assert bits(again) == bits([image])


def test_the_parameters_in_a_file_draw_the_same_picture_again(model, tmp_path):
    images = txt2img(
        model, 'a "red" house,\nat night', negative_prompt="snow: deep", seed=3, width=48, guidance_scale=2.1,
        sampler="ddim", **QUICK,
    )  # fmt: skip
    p = read_parameters(save_images(images, tmp_path)[0])
    again = txt2img(
        model, p.prompt, negative_prompt=p.negative_prompt, seed=p.seed, width=p.width, height=p.height,
        guidance_scale=p.guidance_scale, sampler=p.sampler, steps=p.steps, progress=False,
    )  # fmt: skip
    assert bits(again) == bits(images)


def test_a_sampler_object_is_taken_as_it_is(model):
    drawn = [bits(txt2img(model, "a house", sampler=s, **QUICK)) for s in ("ddim", DDIM(), DDIM(eta=1.0))]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_run_leaves_the_model_able_to_draw_the_same_picture(model, stop):
    before = bits(txt2img(model, "a house", **QUICK))

    def interrupt(step):
        if step.index == 1:
            raise stop

    with pytest.raises(stop):
        txt2img(model, "a house", on_step=interrupt, **QUICK)
    assert bits(txt2img(model, "a house", **QUICK)) == before


def test_nothing_is_drawn_from_or_left_in_the_global_generator(model):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    txt2img(model, "a house", sampler="ddpm", **QUICK)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_half_precision_network_draws_with_a_float32_state(make_model):
    small = make_model().to(torch.bfloat16)
    steps = []
    (image,) = txt2img(small, "a house", on_step=steps.append, **QUICK)
    assert steps[0].x.dtype == torch.float32 and np.asarray(image).std() > 0
    assert read_parameters(image).dtype == "bfloat16"


def test_a_decoder_that_gives_nan_is_an_error_that_names_it(make_model):
    broken = make_model()
    broken.autoencoder.decoder.conv_out.bias[0] = float("nan")
    with pytest.raises(GenerationError, match='"decode"') as error:
        txt2img(broken, "a house", **QUICK)
    assert "\n" not in str(error.value)


def test_a_prompt_that_is_too_long_warns_with_what_was_cut(model):
    with pytest.warns(UserWarning, match="boat"):
        txt2img(model, "a red house " * 40 + "and a boat", **QUICK)


def test_one_long_prompt_warns_once_however_many_pictures(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        txt2img(model, "a red house " * 40, n_images=3, **QUICK)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"prompt": 3}, PromptError, "of type int"),
        ({"steps": 0}, GenerationError, "steps is 0"),
        ({"sampler": "eulr"}, GenerationError, "did you mean"),
        ({"width": 40}, GenerationError, "nearest that work are 32 and 48"),
        ({"n_images": 0}, GenerationError, "n_images is 0"),
    ],
)
def test_a_wrong_argument_is_a_typed_error(model, changes, error, message):
    with pytest.raises(error, match=message):
        unwrap(txt2img)(model, **{"prompt": "a house", "progress": False, **changes})
