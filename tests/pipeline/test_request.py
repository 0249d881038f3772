import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError, PromptError
from labml_sd.pipeline.request import check_size, make_request, sampler_name
from labml_sd.sampler import DDIM, SAMPLERS, Guidance, Variation, as_in, get_sampler
from labml_sd.settings import check_settings


def request(model, prompt="a house", strength=1.0, **changes):
    return make_request(model, prompt, {"steps": 4, "seed": 7} | changes, strength=strength)


def test_pictures_of_one_prompt_stand_together_and_count_their_seeds(model):
    made = request(model, prompt=["a", "b"], negative_prompt=["x", "y"], n_images=2)
    assert made.prompts == ("a", "a", "b", "b")
    assert made.negative_prompts == ("x", "x", "y", "y")
    assert made.seeds == (7, 8, 9, 10)


def test_one_negative_prompt_serves_all_prompts(model):
    assert request(model, prompt=("a", "b"), negative_prompt="x").negative_prompts == ("x", "x")


def test_without_a_seed_each_call_draws_another(model):
    assert request(model, seed=None).seeds != request(model, seed=None).seeds


def test_without_a_guidance_scale_the_models_own_is_used(model):
    assert request(model).guidance == Guidance(model.config.guidance_scale)


def test_guidance_is_made_from_three_settings(model):
    made = request(model, guidance_scale=5, guidance_rescale=0.7, guidance_interval=[0.3, 4])
    assert made.guidance == Guidance(5.0, low=0.3, high=4.0, rescale=0.7)


def test_compat_may_run_another_number_of_steps_than_asked_for(model):
    made = request(model, sampler="ddim", compat="a1111", steps=20)
    assert (made.settings.steps, len(made.levels) - 1, made.settings.compat) == (
        20,
        19,
        "a1111",
    )
    assert (made.sampler.name, made.noise_scale) == ("ddim", 1.0)


def test_without_compat_a_picture_is_noised_to_the_first_level_that_runs(model):
    made = request(model, strength=0.5)
    noised_to, levels = made.start()
    assert (noised_to, len(levels), made.noise_scale) == (levels[0], 3, 1.0)
    assert made.settings.compat is None


def test_with_compat_strength_means_what_it_means_to_the_tool(model):
    made = request(model, sampler="ddim", compat="compvis", steps=20, strength=0.5)
    noised_to, levels = made.start()
    assert (noised_to.t, levels[0].t) == (501, 451)


@pytest.mark.parametrize("compat", ["compvis", "labml", "diffusers", "a1111"])
def test_strength_0_runs_nothing_with_any_tool(model, compat):
    noised_to, levels = request(model, sampler="ddim", compat=compat, strength=0).start()
    assert levels == [noised_to]


def test_variations_of_one_picture_share_its_seed_and_count_the_other(model):
    made = request(model, n_images=3, variation_seed=100, variation_strength=0.25)
    assert (made.seeds, made.variation) == ((7, 7, 7), Variation((100, 101, 102), 0.25))


@pytest.mark.parametrize("seed", [None, 100])
def test_at_variation_strength_0_seeds_count_as_without(model, seed):
    made = request(model, n_images=3, variation_seed=seed, variation_strength=0)
    assert (made.seeds, made.variation) == ((7, 8, 9), None)


def test_each_picture_has_settings_of_its_own(model):
    made = request(
        model, prompt=["a", "b"], negative_prompt=["x", "y"], sampler=DDIM(), n_images=2
    )
    one = made.settings_of(2)
    assert (one.negative_prompt, one.seed, one.n_images, one.sampler) == ("y", 9, 1, "ddim")
    assert one.guidance_scale == model.config.guidance_scale


def test_a_variation_has_settings_of_its_own(model):
    made = request(model, n_images=3, variation_seed=100, variation_strength=0.25)
    one = made.settings_of(1)
    assert (one.seed, one.variation_seed, one.variation_strength) == (7, 101, 0.25)


@pytest.mark.parametrize("sampler", ["ddim", DDIM(), DDIM(spacing="uniform")])
def test_a_spacing_chooses_the_levels_and_the_sampler_keeps_its_name(model, sampler):
    made = request(model, sampler=sampler, spacing="karras")
    assert list(made.levels) == DDIM(spacing="karras").levels(model.schedule, 4)
    one = made.settings_of(0)
    assert one.spacing == "karras"
    assert one.sampler == ("ddim" if sampler != DDIM("uniform") else repr(DDIM("uniform")))


def test_a_spacing_with_a_tool_chooses_among_the_tools_levels(model):
    made = request(model, sampler="euler", spacing="karras", compat="a1111")
    levels = as_in("a1111", "euler", "karras").levels(model.schedule, 4)
    assert list(made.levels) == levels
    one = made.settings_of(0)
    assert (one.sampler, one.spacing, one.compat) == ("euler", "karras", "a1111")


NUMBERS = {
    "seed": (7, [np.int64(7), np.array(7), torch.tensor(7)]),
    "steps": (4, [np.int32(4), np.uint8(4), torch.tensor(4)]),
    "height": (32, [np.int64(32)]),
    "width": (32, [torch.tensor(32)]),
    "n_images": (2, [np.int16(2)]),
    "guidance_scale": (2.5, [np.float32(2.5), np.float16(2.5), torch.tensor(2.5)]),
    "guidance_rescale": (0.5, [np.float32(0.5)]),
    "guidance_interval": ((0.5, 4.0), [(np.float32(0.5), np.int64(4)), [0.5, torch.tensor(4)]]),
    "variation_seed": (9, [np.uint64(9)]),
    "variation_strength": (0.5, [np.float32(0.5), torch.tensor(0.5)]),
    "strength": (0.5, [np.float32(0.5), torch.tensor(0.5)]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_numpy_and_pytorch_ask_for_the_same(model, name):
    plain, others = NUMBERS[name]
    more = {"variation_seed": 3} if name == "variation_strength" else {}
    wanted = request(model, **{name: plain}, **more)
    for value in others:
        made = request(model, **{name: value}, **more)
        assert made == wanted and repr(made) == repr(wanted)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True), "1", np.str_("1")])
def test_truth_values_and_texts_are_not_numbers(model, name, value):
    with pytest.raises(GenerationError, match=f"^{name} is "):
        request(model, **{name: value})


SEED = "give a whole number from 0 to 18446744073709551615"
PAIR = "guidance_interval is .*: give two noise levels sigma, the lower first"
WRONG = {
    "a tool that does not exist": ({"compat": "comfy"}, "compat is 'comfy'.* compvis"),
    "a sampler the tool lacks": (
        {"compat": "compvis"},
        "compvis has no sampler 'dpmpp_2m'.* diffusers, a1111",
    ),
    "a tool and a sampler object": (
        {"compat": "compvis", "sampler": DDIM()},
        "needs a sampler's name",
    ),
    "a tool and a wrong name": (
        {"compat": "compvis", "sampler": "dimm"},
        "did you mean 'ddim'",
    ),
    "no rescale": ({"guidance_rescale": None}, "guidance_rescale is None: give a number"),
    "rescale above 1": ({"guidance_rescale": 1.5}, "guidance_rescale is 1.5: .* from 0"),
    "one level": ({"guidance_interval": 3}, PAIR),
    "three levels": ({"guidance_interval": (1, 2, 3)}, PAIR),
    "a text as level": ({"guidance_interval": (0, "5")}, PAIR),
    "an infinite level": ({"guidance_interval": (0, float("inf"))}, PAIR),
    "the higher level first": ({"guidance_interval": (5, 1)}, "interval is 5.0 to 1.0"),
    "no variation seed": (
        {"variation_strength": 0.5},
        "variation_strength is 0.5 without a variation_seed: give one",
    ),
    "variation above 1": ({"variation_strength": 2}, "variation_strength is 2: .* from 0"),
    "a negative variation seed": ({"variation_seed": -1}, f"variation_seed is -1: {SEED}"),
    "a last variation seed that is too large": (
        {"variation_seed": 2**64 - 1, "variation_strength": 1, "n_images": 2},
        "variation_seed is 18446744073709551616",
    ),
    "a spacing that does not exist": (
        {"spacing": "karas"},
        "spacing is 'karas': give one of trailing, uniform, leading, quadratic, linspace, k",
    ),
    "a list as spacing": (
        {"spacing": [999, 500, 1, 0]},
        r"spacing is \[999, 500, 1, 0\]: give",
    ),
    "a spacing that the tool lacks": (
        {"spacing": "uniform", "compat": "a1111"},
        "a1111 has no spacing 'uniform' for dpmpp_2m",
    ),
    "a spacing for levels of a sampler's own": (
        {"spacing": "karras", "sampler": as_in("compvis", "ddim")},
        "spacing is 'karras', and AsIn.* chooses its own levels: leave one of them out",
    ),
    "unknown noise": ({"noise": "gpu"}, "noise is 'gpu'; choose one of cpu, cuda"),
    "no pictures": ({"n_images": 0}, "n_images is 0: give a whole number, at least 1"),
    "half a picture": ({"n_images": 1.5}, "n_images is 1.5"),
    "too many pictures": ({"n_images": 10_001}, "n_images is 10001: .* 10,000 .* at most"),
    "no steps": ({"steps": 0}, "steps is 0"),
    "negative steps": ({"steps": -3}, "steps is -3"),
    "more steps than were trained": ({"steps": 1001}, "steps is 1001; .* from 1 to 1000"),
    "steps as a text": ({"steps": "20"}, "steps is '20': give a whole number, at least 1"),
    "a sampler misspelled": ({"sampler": "dpmpp_2n"}, "did you mean 'dpmpp_2m'"),
    "a number as sampler": ({"sampler": 3}, "sampler is 3"),
    "a scale that is not a number": ({"guidance_scale": float("nan")}, "scale is nan: give"),
    "a scale as a text": ({"guidance_scale": "7"}, "guidance_scale is '7'"),
    "a negative seed": ({"seed": -1}, f"seed is -1: {SEED}, or none for a random one"),
    "a seed that is not whole": ({"seed": 0.5}, "seed is 0.5"),
    "a last seed that is too large": (
        {"seed": 2**64 - 1, "n_images": 2},
        "seed is 18446744073709551616",
    ),
    "strength above 1": ({"strength": 1.5}, "strength is 1.5"),
    "strength below 0": ({"strength": -0.1}, "strength is -0.1"),
    "strength that is not a number": ({"strength": float("nan")}, "strength is nan"),
    "no height": ({"height": 0}, "height is 0: give a whole number, at least 1"),
    "a negative width": ({"width": -16}, "width is -16"),
    "a width that is not whole": ({"width": 16.0}, "width is 16.0"),
    "a width of True": ({"width": True}, "width is True"),
    "a setting that does not exist": ({"stepz": 3}, "'stepz', did you mean 'steps'"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_one_line_that_names_it(model, changes, message):
    with pytest.raises(GenerationError, match=message) as caught:
        request(model, **changes)
    assert "\n" not in str(caught.value)


WRONG_TEXTS = {
    "no prompt": ({"prompt": None}, "prompt is of type NoneType"),
    "bytes": ({"prompt": b"a house"}, "prompt is of type bytes"),
    "an empty list": ({"prompt": []}, "empty list"),
    "a number in the list": ({"prompt": ["a", 3]}, "item of type int"),
    "no negative prompt": ({"negative_prompt": None}, "negative_prompt is of type NoneType"),
    "fewer negative prompts": (
        {"prompt": ["a", "b"], "negative_prompt": ["x"]},
        "1 negative prompts for 2 prompts",
    ),
}


@pytest.mark.parametrize("changes, message", WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_a_wrong_prompt_is_one_line_that_names_it(model, changes, message):
    with pytest.raises(PromptError, match=message) as caught:
        request(model, **changes)
    assert "\n" not in str(caught.value)


def size(model, **sides):
    return check_size(model.config, check_settings(sides))


def test_sizes_left_out_are_the_models_own(model):
    assert size(model, width=48) == (32, 48)
    assert size(model, height=48) == (48, 32)


@pytest.mark.parametrize(
    "width, nearest",
    [(1, "16 and 32"), (15, "16 and 32"), (40, "32 and 48"), (33, "32 and 48")],
)
def test_a_size_that_does_not_fit_names_the_two_nearest(model, width, nearest):
    message = f"width {width} is no multiple of 16: .* {nearest}"
    with pytest.raises(GenerationError, match=message):
        size(model, width=width)


@pytest.mark.parametrize("width", [16 * 10**6, 10**5000], ids=["16 million", "5000 digits"])
def test_a_size_that_is_too_large_is_refused(model, width):
    with pytest.raises(GenerationError, match="is too large: at most 16,777,216 pixels"):
        size(model, width=width)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_samplers_name_is_found_again(name):
    assert sampler_name(get_sampler(name)) == name


def test_a_sampler_with_settings_of_its_own_is_written_out():
    assert sampler_name(DDIM(eta=0.5)) == "DDIM(spacing='trailing', eta=0.5)"
