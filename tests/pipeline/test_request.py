import pytest

from labml_sd.errors import GenerationError, PromptError
from labml_sd.pipeline.request import check_size, make_request, sampler_name
from labml_sd.sampler import DDIM, SAMPLERS, Guidance, Variation, get_sampler

GOOD = {
    "prompt": "a house",
    "negative_prompt": "",
    "sampler": "dpmpp_2m",
    "steps": 4,
    "guidance_scale": None,
    "seed": 7,
    "n_images": 1,
}


def request(model, **changes):
    return make_request(model.config, model.schedule, **{**GOOD, **changes})


def test_pictures_of_one_prompt_stand_together_and_seeds_count_on(model):
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


def test_guidance_is_put_together_from_its_three_arguments(model):
    made = request(model, guidance_scale=5, guidance_rescale=0.7, guidance_interval=[0.3, 4])
    assert made.guidance == Guidance(5.0, low=0.3, high=4.0, rescale=0.7)


def test_compat_may_run_another_number_of_steps_than_asked_for(model):
    made = request(model, sampler="ddim", compat="a1111", steps=20)
    assert (made.steps, len(made.levels) - 1, made.compat) == (20, 19, "a1111")
    assert (sampler_name(made.sampler), made.noise_scale) == ("ddim", 1.0)


def test_without_compat_a_picture_is_noised_to_the_first_level_that_runs(model):
    made = request(model, strength=0.5)
    noised_to, levels = made.start()
    assert (noised_to, len(levels), made.compat, made.noise_scale) == (levels[0], 3, None, 1.0)


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
def test_at_variation_strength_0_seeds_count_as_ever(model, seed):
    made = request(model, n_images=3, variation_seed=seed, variation_strength=0)
    assert (made.seeds, made.variation) == ((7, 8, 9), None)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"compat": "comfy"}, GenerationError, "compat is 'comfy'; choose one of compvis"),
        (
            {"compat": "compvis"},
            GenerationError,
            "compvis has no sampler 'dpmpp_2m'.* diffusers, a1111",
        ),
        ({"compat": "compvis", "sampler": DDIM()}, GenerationError, "needs a sampler's name"),
        ({"compat": "compvis", "sampler": "dimm"}, GenerationError, "did you mean 'ddim'"),
        ({"guidance_rescale": None}, GenerationError, "guidance_rescale is None"),
        ({"guidance_rescale": 1.5}, GenerationError, "guidance_rescale is 1.5"),
        ({"guidance_interval": 3}, GenerationError, "guidance_interval is 3: give two"),
        (
            {"guidance_interval": (1, 2, 3)},
            GenerationError,
            "guidance_interval is .*: give two",
        ),
        ({"guidance_interval": (0, "5")}, GenerationError, "guidance_interval is .*: give two"),
        (
            {"guidance_interval": (0, float("inf"))},
            GenerationError,
            "guidance_interval is .*: give two",
        ),
        ({"guidance_interval": (5, 1)}, GenerationError, "guidance_interval is 5.0 to 1.0"),
        ({"variation_strength": 0.5}, GenerationError, "without a variation_seed: give one"),
        ({"variation_strength": 2}, GenerationError, "variation_strength is 2"),
        ({"variation_seed": -1}, GenerationError, "variation_seed is -1"),
        (
            {"variation_seed": 2**63 - 1, "variation_strength": 1, "n_images": 2},
            GenerationError,
            "variation_seed is 9223372036854775808",
        ),
        ({"noise": "gpu"}, GenerationError, "noise is 'gpu'; choose one of cpu, cuda"),
        ({"prompt": None}, PromptError, "prompt is of type NoneType"),
        ({"prompt": b"a house"}, PromptError, "prompt is of type bytes"),
        ({"prompt": []}, PromptError, "empty list"),
        ({"prompt": ["a", 3]}, PromptError, "item of type int"),
        ({"negative_prompt": None}, PromptError, "negative_prompt is of type NoneType"),
        (
            {"prompt": ["a", "b"], "negative_prompt": ["x"]},
            PromptError,
            "1 negative prompts for 2 prompts",
        ),
        ({"n_images": 0}, GenerationError, "n_images is 0"),
        ({"n_images": 1.5}, GenerationError, "n_images is 1.5"),
        ({"steps": 0}, GenerationError, "steps is 0"),
        ({"steps": -3}, GenerationError, "steps is -3"),
        ({"steps": 1001}, GenerationError, "steps is 1001"),
        ({"steps": "20"}, GenerationError, "steps is '20'"),
        ({"sampler": "dpmpp_2n"}, GenerationError, "did you mean 'dpmpp_2m'"),
        ({"sampler": 3}, GenerationError, "sampler is 3"),
        ({"guidance_scale": float("nan")}, GenerationError, "guidance_scale is nan"),
        ({"guidance_scale": "7"}, GenerationError, "guidance_scale is '7'"),
        ({"seed": -1}, GenerationError, "seed is -1"),
        ({"seed": 0.5}, GenerationError, "seed is 0.5"),
        ({"seed": 2**63 - 1, "n_images": 2}, GenerationError, "seed is 9223372036854775808"),
        ({"strength": 1.5}, GenerationError, "strength is 1.5"),
        ({"strength": -0.1}, GenerationError, "strength is -0.1"),
        ({"strength": float("nan")}, GenerationError, "strength is nan"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(model, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        request(model, **changes)
    assert "\n" not in str(caught.value)


def test_sizes_left_out_are_the_models_own(model):
    assert check_size(model.config, None, 48) == (32, 48)


@pytest.mark.parametrize(
    "size, nearest", [(1, "16 and 32"), (15, "16 and 32"), (40, "32 and 48"), (33, "32 and 48")]
)
def test_a_size_that_does_not_fit_names_the_two_nearest(model, size, nearest):
    with pytest.raises(
        GenerationError, match=f"width {size} is no multiple of 16: .* {nearest}"
    ):
        check_size(model.config, None, size)


@pytest.mark.parametrize("size", [0, -16, 16.0, True, 16 * 10**6])
def test_a_size_that_cannot_be_is_refused(model, size):
    with pytest.raises(GenerationError):
        check_size(model.config, size, 16)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_samplers_name_is_found_again(name):
    assert sampler_name(get_sampler(name)) == name


def test_a_sampler_with_settings_of_its_own_is_written_out():
    assert sampler_name(DDIM(eta=0.5)) == "DDIM(spacing='trailing', eta=0.5)"
