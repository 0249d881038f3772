import pytest

from labml_sd.errors import GenerationError
from labml_sd.sampler import DDIM, SAMPLERS, Sampler, get_sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_name_gives_a_sampler_that_starts_at_the_noisiest_time(schedule, name):
    sampler = get_sampler(name)
    assert isinstance(sampler, Sampler)
    first = sampler.levels(schedule, 20)[0]
    assert (first.t, first.alpha_bar) == (999, schedule.alpha_bar[999])


def test_a_sampler_object_passes_through():
    sampler = DDIM(eta=0.3)
    assert get_sampler(sampler) is sampler


@pytest.mark.parametrize(
    ("typed", "meant"), [("dimm", "ddim"), ("DDIM", "ddim"), ("dpm++ 2m", "dpmpp_2m")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(typed, meant):
    with pytest.raises(GenerationError) as caught:
        get_sampler(typed)
    assert f"did you mean {meant!r}? There are {', '.join(SAMPLERS)}" in str(caught.value)


@pytest.mark.parametrize("given", [None, 3, DDIM])
def test_an_object_without_the_methods_of_a_sampler_is_refused(given):
    with pytest.raises(
        GenerationError, match=f"give one of {', '.join(SAMPLERS)}, or an object"
    ):
        get_sampler(given)
