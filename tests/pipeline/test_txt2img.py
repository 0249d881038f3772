import warnings
from inspect import unwrap

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError, PromptError
from labml_sd.images.tensors import save_images
from labml_sd.pipeline import txt2img
from labml_sd.pipeline.parameters import read_parameters
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
    torch.testing.assert_close(
        alone, together[3:], rtol=0, atol=1e-5 * float(together.abs().max())
    )


def test_other_seeds_prompts_negative_prompts_and_scales_give_other_pictures(model):
    changes = [
        {},
        {"seed": 1},
        {"prompt": "a boat"},
        {"negative_prompt": "snow"},
        {"guidance_scale": 1.0},
        {"sampler": "ddim"},
        {"guidance_rescale": 0.7},
        {"guidance_interval": (0.5, 5)},
        {"variation_seed": 1, "variation_strength": 0.5},
        {"noise": "cuda"},
        {"compat": "diffusers"},
        {"compat": "a1111"},
    ]
    drawn = [
        bits(txt2img(model, **{"prompt": "a house", **QUICK, **change}))[0]
        for change in changes
    ]
    assert len(set(drawn)) == len(changes)


def test_at_guidance_scale_1_the_negative_prompt_has_no_effect(model):
    drawn = [
        txt2img(model, "a house", negative_prompt=n, guidance_scale=1, **QUICK)
        for n in ("", "snow")
    ]
    assert bits(drawn[0]) == bits(drawn[1])


def test_what_is_off_by_default_is_off_to_the_bit(model):
    off = {
        "guidance_rescale": 0,
        "guidance_interval": (0, 100),
        "variation_seed": 9,
        "variation_strength": 0,
    }
    assert bits(txt2img(model, "a house", **off, **QUICK)) == bits(
        txt2img(model, "a house", **QUICK)
    )


def test_an_interval_without_a_level_in_it_is_no_guidance(model):
    outside = txt2img(model, "a house", guidance_interval=(20, 30), **QUICK)
    assert bits(outside) == bits(txt2img(model, "a house", guidance_scale=1, **QUICK))


def test_outside_the_interval_the_network_runs_on_half_the_batch(make_model, monkeypatch):
    model, batches = make_model(), []
    run = model.unet.forward

    def counted(x, t, c):
        batches.append(len(c))
        return run(x, t, c)

    monkeypatch.setattr(model.unet, "forward", counted)
    txt2img(model, "a house", steps=4, guidance_interval=(0.5, 5.0), progress=False)
    levels = [model.schedule.level(t) for t in (999, 749, 499, 249)]
    assert (
        batches == [2 if 0.5 <= level.sigma <= 5.0 else 1 for level in levels] == [1, 2, 2, 2]
    )


def test_at_variation_strength_1_the_first_noise_is_the_variation_seeds(model):
    varied = txt2img(model, "a house", seed=3, variation_seed=8, variation_strength=1, **QUICK)
    assert bits(varied) == bits(txt2img(model, "a house", seed=8, **QUICK))


def test_variations_of_one_call_are_those_drawn_one_by_one(model):
    options = {"seed": 3, "variation_strength": 0.3}
    together = final_latents(model, "a house", variation_seed=8, n_images=2, **options)
    alone = final_latents(model, "a house", variation_seed=9, **options)
    torch.testing.assert_close(
        alone, together[1:], rtol=0, atol=1e-5 * float(together.abs().max())
    )


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_exactly_the_steps_asked_for_are_run(model, steps):
    seen = []
    txt2img(model, "a house", steps=steps, on_step=seen.append, progress=False)
    assert [(s.index, s.n_steps) for s in seen] == [(i, steps) for i in range(steps)]


def test_the_parameters_of_each_picture_are_attached(model):
    images = txt2img(
        model, ["a house", "a boat"], negative_prompt="snow", seed=5, height=48, **QUICK
    )
    read = [read_parameters(image) for image in images]
    assert [(p.prompt, p.seed) for p in read] == [("a house", 5), ("a boat", 6)]
    first = read[0]
    assert (first.task, first.negative_prompt, first.steps, first.sampler) == (
        "txt2img",
        "snow",
        3,
        "dpmpp_2m",
    )
    assert (first.width, first.height, first.guidance_scale, first.strength) == (
        32,
        48,
        3.0,
        None,
    )
    assert (first.model, first.model_hash, first.dtype) == ("small", None, "float32")


def test_a_random_seed_is_stored_and_draws_the_picture_again(model):
    (image,) = txt2img(model, "a house", seed=None, **QUICK)
    again = txt2img(model, "a house", seed=read_parameters(image).seed, **QUICK)
    assert bits(again) == bits([image])


def test_the_parameters_in_a_file_draw_the_same_picture_again(model, tmp_path):
    images = txt2img(
        model,
        'a "red" house,\nat night',
        negative_prompt="snow: deep",
        seed=3,
        width=48,
        guidance_scale=2.1,
        sampler="ddim",
        **QUICK,
    )
    p = read_parameters(save_images(images, tmp_path)[0])
    again = txt2img(model, p.prompt, progress=False, **p.settings)
    assert bits(again) == bits(images)


def test_a_sampler_object_is_taken_as_it_is(model):
    drawn = [
        bits(txt2img(model, "a house", sampler=s, **QUICK))
        for s in ("ddim", DDIM(), DDIM(eta=1.0))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_not_used_is_not_recorded(model):
    p = read_parameters(txt2img(model, "a house", **QUICK)[0])
    unused = (
        p.guidance_rescale,
        p.guidance_interval,
        p.variation_seed,
        p.variation_strength,
        p.noise,
    )
    assert unused == (None,) * 5


@pytest.mark.parametrize("compat", ["compvis", "labml", "diffusers", "a1111"])
def test_compat_is_recorded_and_draws_the_picture_again(model, compat):
    (image,) = txt2img(model, "a house", sampler="ddim", compat=compat, **QUICK)
    p = read_parameters(image)
    assert (p.sampler, p.compat, p.steps) == ("ddim", compat, 3)
    (again,) = txt2img(model, "a house", sampler=p.sampler, compat=p.compat, **QUICK)
    assert again.tobytes() == image.tobytes()


def test_compat_starts_from_the_noise_of_the_tool(model):
    # One step of Euler into no noise ends at the x0 of what it starts from.
    ends = [
        final_latents(model, "a house", sampler="euler", compat=c, steps=1)
        for c in (None, "a1111")
    ]
    assert not torch.equal(*ends)


def test_guidance_noise_and_variation_are_recorded_and_draw_the_picture_again(model):
    options = {"guidance_rescale": 0.7, "guidance_interval": (0.5, 5.0), "noise": "cuda"}
    images = txt2img(
        model,
        "a house",
        n_images=2,
        seed=3,
        variation_seed=8,
        variation_strength=0.3,
        **options,
        **QUICK,
    )
    p = read_parameters(images[1])
    assert {key: getattr(p, key) for key in options} == options
    again = txt2img(
        model, "a house", seed=3, variation_seed=9, variation_strength=0.3, **options, **QUICK
    )
    assert (p.seed, p.variation_seed, p.variation_strength) == (3, 9, 0.3)
    assert bits(again) == bits(images[1:])


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


def test_a_long_prompt_is_not_cut(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long, longer = txt2img(model, ["a red house " * 40, "a red house " * 80], **QUICK)
    assert long.tobytes() != longer.tobytes()


def test_a_prompt_of_more_than_64_chunks_warns_once_however_many_pictures(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        txt2img(model, "a red house " * 2000, n_images=3, **QUICK)
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
