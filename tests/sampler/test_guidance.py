import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, Guidance, Level, guide, guided, guided_by, rescale_std
from labml_sd.sampler.guidance import plainly

LEVEL = Level(t=12.5, alpha_bar=0.9)


class Network:
    """Answers x plus the mean of its condition, and remembers what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, cond):
        self.calls.append((x, t, cond))
        return x + cond.mean(dim=(1, 2))[:, None, None, None]


@pytest.fixture
def x():
    return torch.arange(2 * 4 * 2 * 2, dtype=torch.float64).reshape(2, 4, 2, 2)


@pytest.fixture
def cond():
    return torch.tensor([3.0, 5.0], dtype=torch.float64)[:, None, None].expand(2, 3, 6)


@pytest.fixture
def uncond():
    return torch.ones(1, 3, 6, dtype=torch.float64)


@pytest.mark.holds("fact: guidance")
def test_guidance_scale_zero_is_unconditional_one_is_plain_and_two_goes_beyond():
    uncond, cond = torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 3.0)
    assert [guide(uncond, cond, s).item() for s in (0, 1, 2, 7.5)] == [1.0, 3.0, 5.0, 16.0]


@pytest.mark.holds("fact: guidance-batch")
def test_cond_and_uncond_run_as_one_batch_uncond_first(x, cond, uncond):
    network = Network()
    guided(network, cond, uncond, 7.5)(x, LEVEL)
    ((batch, _, both),) = network.calls
    assert torch.equal(batch, torch.cat([x, x]))
    assert torch.equal(both, torch.cat([uncond, uncond, cond]))


def test_each_image_is_guided_by_its_own_prompt(x, cond, uncond):
    eps = guided(Network(), cond, uncond, 2)(x, LEVEL)
    torch.testing.assert_close(
        eps - x, torch.tensor([5.0, 9.0]).double()[:, None, None, None].expand_as(x)
    )


def test_each_image_may_have_its_own_negative_prompt(x, cond):
    uncond = torch.tensor([1.0, 2.0], dtype=torch.float64)[:, None, None].expand(2, 3, 6)
    eps = guided(Network(), cond, uncond, 2)(x, LEVEL)
    torch.testing.assert_close(
        eps - x, torch.tensor([5.0, 8.0]).double()[:, None, None, None].expand_as(x)
    )


@pytest.mark.holds("fact: guidance-batch")
@pytest.mark.parametrize("scale", [1, 1.0])
def test_scale_one_runs_cond_alone(x, cond, uncond, scale):
    network = Network()
    guided(network, cond, uncond, scale)(x, LEVEL)
    ((batch, _, given),) = network.calls
    assert torch.equal(batch, x) and torch.equal(given, cond)


def test_scale_one_needs_no_uncond(x, cond):
    assert torch.equal(guided(Network(), cond, None, 1)(x, LEVEL), Network()(x, None, cond))


def test_the_network_gets_the_time_as_float32_fraction_and_all(x, cond, uncond):
    network = Network()
    guided(network, cond, uncond, 3)(x, LEVEL)
    t = network.calls[0][1]
    assert t.dtype == torch.float32 and t.tolist() == [12.5] * 4


def test_the_network_gets_its_own_dtype_and_the_state_keeps_its_own(cond, uncond):
    network = Network()
    x = torch.ones(2, 4, 2, 2)
    eps = guided(network, cond.bfloat16(), uncond.bfloat16(), 3)(x, LEVEL)
    assert network.calls[0][0].dtype == torch.bfloat16
    assert eps.dtype == torch.float32


def test_guidance_is_computed_in_the_states_dtype(cond, uncond):
    # In bfloat16, 1 + 0.001 * (3 - 1) would be rounded to 1.
    x = torch.zeros(2, 4, 2, 2)
    eps = guided(Network(), cond.bfloat16(), uncond.bfloat16(), 0.001)(x, LEVEL)
    assert eps[0, 0, 0, 0].item() == pytest.approx(1.002, abs=1e-6)


def test_inputs_stay_as_they_were(x, cond, uncond):
    before = [tensor.clone() for tensor in (x, cond, uncond)]
    guided(Network(), cond, uncond, 3)(x, LEVEL)
    assert all(torch.equal(*pair) for pair in zip((x, cond, uncond), before, strict=True))


def test_one_cond_for_two_latents_is_refused(x, cond, uncond):
    with pytest.raises(GenerationError, match="2 latents but 1 prompt embeddings"):
        guided(Network(), cond[:1], uncond, 3)(x, LEVEL)


def test_a_negative_prompt_for_another_number_of_images_is_refused(cond, uncond):
    with pytest.raises(
        GenerationError, match=r"embedding is \[3, 3, 6\]; give the prompt's shape \[2, 3, 6\]"
    ):
        guided(Network(), cond, uncond.expand(3, 3, 6), 3)


def test_guidance_without_a_negative_prompts_embedding_is_refused(cond):
    with pytest.raises(GenerationError, match="without a negative prompt's embedding"):
        guided(Network(), cond, None, 3)


class Asking:
    """Answers as Network does, without a copy of x from the caller; remembers prompts and calls."""

    def __init__(self):
        self.bound = []
        self.calls = []

    def __call__(self, prompts):
        self.bound.append(prompts)

        def eps(x, t):
            self.calls.append((x, t))
            return plainly(Network())(prompts)(x, t)

        return eps


def test_asked_plainly_a_network_gets_the_pictures_once_for_each_prompt_of_theirs(x, cond):
    network = Network()
    prompts = torch.cat([cond, cond + 1, cond + 2])
    plainly(network)(prompts)(x, 12.5)
    ((batch, t, given),) = network.calls
    assert torch.equal(batch, torch.cat([x, x, x])) and given is prompts
    assert t.dtype == torch.float32 and t.tolist() == [12.5] * 6


def test_a_way_of_asking_gets_x_once_and_both_prompts_uncond_first(x, cond, uncond):
    ask = Asking()
    eps = guided_by(ask, cond, uncond, 3)(x, LEVEL)
    assert torch.equal(eps, guided(Network(), cond, uncond, 3)(x, LEVEL))
    assert torch.equal(ask.bound[0], torch.cat([uncond, uncond, cond]))
    assert torch.equal(ask.calls[0][0], x) and ask.calls[0][1] == 12.5


def test_prompts_are_bound_once_a_run_alone_and_with_uncond_each_when_first_needed(
    x, cond, uncond
):
    ask = Asking()
    evaluate = guided_by(ask, cond, uncond, Guidance(3, low=1.0))
    inside = Level(t=800.0, alpha_bar=0.1)
    assert ask.bound == []
    for level in (LEVEL, LEVEL, inside, LEVEL, inside):
        evaluate(x, level)
    assert [len(prompts) for prompts in ask.bound] == [2, 4]
    assert len(ask.calls) == 5


def test_a_way_of_asking_gets_the_networks_dtype_and_the_state_keeps_its_own(cond, uncond):
    ask = Asking()
    eps = guided_by(ask, cond.bfloat16(), uncond.bfloat16(), 3)(torch.ones(2, 4, 2, 2), LEVEL)
    assert (ask.calls[0][0].dtype, eps.dtype) == (torch.bfloat16, torch.float32)


def test_a_way_of_asking_is_checked_as_a_network_is(x, cond):
    with pytest.raises(GenerationError, match="without a negative prompt's embedding"):
        guided_by(Asking(), cond, None, 3)
    with pytest.raises(GenerationError, match="2 latents but 1 prompt embeddings"):
        guided_by(Asking(), cond[:1], None, 1)(x, LEVEL)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_finite_number_is_refused(cond, uncond, scale):
    with pytest.raises(GenerationError, match="give a finite number"):
        guided(Network(), cond, uncond, scale)


SIGMA = LEVEL.sigma  # 1/3


def test_a_scale_by_itself_guides_every_level_and_rescales_nothing(schedule):
    levels = [*(schedule.level(t) for t in range(1000)), CLEAN]
    assert {Guidance(7.5).scale_at(level) for level in levels} == {7.5}
    assert Guidance(7.5).rescale == 0


def test_guidance_with_its_defaults_is_the_plain_scale_to_the_bit(x, cond, uncond):
    plain, bound = (guided(Network(), cond, uncond, s)(x, LEVEL) for s in (7.3, Guidance(7.3)))
    assert torch.equal(plain, bound)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [
        (0.3, 0.4, True),
        (0.0, SIGMA, True),
        (SIGMA, 9.0, True),
        (0.4, 9.0, False),
        (0.0, 0.3, False),
    ],
)
def test_the_interval_is_one_of_sigma_with_both_ends(low, high, holds):
    assert Guidance(3, low=low, high=high).scale_at(LEVEL) == (3 if holds else 1)


def test_outside_the_interval_cond_runs_alone(x, cond, uncond):
    network = Network()
    eps = guided(network, cond, uncond, Guidance(3, low=1.0))(x, LEVEL)
    ((batch, _, given),) = network.calls
    assert torch.equal(batch, x) and torch.equal(given, cond)
    assert torch.equal(eps, Network()(x, None, cond))


def test_inside_the_interval_it_is_the_plain_scale_to_the_bit(x, cond, uncond):
    inside = guided(Network(), cond, uncond, Guidance(3, low=0.1, high=1.0))(x, LEVEL)
    assert torch.equal(inside, guided(Network(), cond, uncond, 3)(x, LEVEL))


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_rescaling_brings_the_std_towards_that_of_cond_by_its_share(randn, share):
    eps, eps_cond = 3 * randn(), randn()
    std, std_cond, rescaled = (
        e.std(dim=(1, 2, 3)) for e in (eps, eps_cond, rescale_std(eps, eps_cond, share))
    )
    torch.testing.assert_close(
        rescaled, share * std_cond + (1 - share) * std, rtol=1e-12, atol=0
    )


def test_rescaling_changes_the_amplitude_and_not_the_direction(randn):
    eps = randn()
    ratio = rescale_std(eps, randn(), 0.7) / eps
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-12, atol=0)


@pytest.mark.holds("labml_sd.sampler.guidance.rescale_std")
def test_rescaling_is_its_equation_image_by_image(randn):
    eps, eps_cond = 3 * randn(), randn()
    rescaled = rescale_std(eps, eps_cond, 0.7)
    for e, c, r in zip(eps, eps_cond, rescaled, strict=True):
        ratio = ((c - c.mean()).square().sum() / (e - e.mean()).square().sum()).sqrt()
        torch.testing.assert_close(r, 0.7 * ratio * e + 0.3 * e, rtol=1e-12, atol=1e-12)


def test_each_image_is_rescaled_by_its_own_std(randn):
    eps, eps_cond = randn(), randn()
    alone = rescale_std(eps[1:], eps_cond[1:], 0.7)
    torch.testing.assert_close(rescale_std(eps, eps_cond, 0.7)[1:], alone, rtol=1e-12, atol=0)


def test_guided_noise_is_rescaled_to_the_std_of_conds_own(x, cond, uncond):
    network = lambda x, t, c: x * c.mean(dim=(1, 2))[:, None, None, None]  # noqa: E731
    plain = network(x, None, cond)
    full = guided(network, cond, uncond, Guidance(3, rescale=1.0))(x, LEVEL)
    torch.testing.assert_close(
        full.std(dim=(1, 2, 3)), plain.std(dim=(1, 2, 3)), rtol=1e-12, atol=0
    )


def test_rescaling_leaves_what_is_outside_the_interval(x, cond, uncond):
    eps = guided(Network(), cond, uncond, Guidance(3, low=1.0, rescale=1.0))(x, LEVEL)
    assert torch.equal(eps, guided(Network(), cond, None, 1)(x, LEVEL))


@pytest.mark.parametrize(
    ("low", "high"), [(2, 1), (-0.1, 1), (float("nan"), 1), (0, float("nan"))]
)
def test_an_interval_that_is_none_is_refused(low, high):
    with pytest.raises(
        GenerationError, match=r"^guidance_interval is .* to .*; give two noise levels sigma"
    ):
        Guidance(3, low=low, high=high)


@pytest.mark.parametrize("rescale", [-0.1, 1.1, float("nan")])
def test_a_rescale_out_of_range_is_refused(rescale):
    with pytest.raises(GenerationError, match=r"^guidance_rescale is .*; give a number from 0"):
        Guidance(3, rescale=rescale)
