from functools import partial

import pytest
import torch

from labml_sd.config import ScheduleConfig
from labml_sd.errors import GenerationError
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.pipeline.memory import BatchSplitter
from labml_sd.sampler import (
    SAMPLERS,
    Guidance,
    Level,
    Moment,
    NoiseSource,
    Schedule,
    from_eps,
    from_v,
    get_sampler,
    inpaint_blend,
    rescale_std,
    sample,
)
from labml_sd.unet.residuals import UNetResiduals

LEVEL = Level(t=12.5, alpha_bar=0.9)  # sigma is 1/3
NOISY = Level(t=800.0, alpha_bar=0.1)
MOMENT = Moment(level=LEVEL)


class Network:
    """Predicts x plus the mean of its prompt, a row for each prompt, and records its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, cond, residuals=None):
        self.calls.append((x, t, cond, residuals))
        rows = x[:, :4].repeat(len(cond) // len(x), 1, 1, 1)
        return rows + cond.mean(dim=(1, 2))[:, None, None, None]


@pytest.fixture
def x():
    return torch.arange(2 * 4 * 2 * 2, dtype=torch.float64).reshape(2, 4, 2, 2)


@pytest.fixture
def cond():
    return torch.tensor([3.0, 5.0], dtype=torch.float64)[:, None, None].expand(2, 3, 6)


@pytest.fixture
def uncond():
    return torch.ones(1, 3, 6, dtype=torch.float64)


def eps(network, cond, uncond, guidance, x, level=LEVEL):
    return Denoiser(network, Conditioning(cond, uncond), guidance)(x, Moment(level=level)).eps


# Guidance


@pytest.mark.holds("fact: guidance-batch")
def test_cond_and_uncond_run_as_one_batch_uncond_first(x, cond, uncond):
    network = Network()
    eps(network, cond, uncond, 7.5, x)
    ((latents, _, both, _),) = network.calls
    assert torch.equal(latents, x)
    assert torch.equal(both, torch.cat([uncond, uncond, cond]))


def test_each_image_is_guided_by_its_own_prompt(x, cond, uncond):
    moved = eps(Network(), cond, uncond, 2, x) - x
    expected = torch.tensor([5.0, 9.0]).double()[:, None, None, None].expand_as(x)
    torch.testing.assert_close(moved, expected)


def test_each_image_may_have_its_own_negative_prompt(x, cond):
    uncond = torch.tensor([1.0, 2.0], dtype=torch.float64)[:, None, None].expand(2, 3, 6)
    moved = eps(Network(), cond, uncond, 2, x) - x
    expected = torch.tensor([5.0, 8.0]).double()[:, None, None, None].expand_as(x)
    torch.testing.assert_close(moved, expected)


@pytest.mark.holds("fact: guidance-batch")
@pytest.mark.parametrize("scale", [1, 1.0])
def test_scale_one_runs_cond_alone(x, cond, uncond, scale):
    network = Network()
    eps(network, cond, uncond, scale, x)
    ((latents, _, given, _),) = network.calls
    assert torch.equal(latents, x) and given is cond


def test_scale_one_needs_no_uncond(x, cond):
    assert torch.equal(eps(Network(), cond, None, 1, x), Network()(x, None, cond))


def test_guidance_with_its_defaults_is_the_plain_scale_to_the_bit(x, cond, uncond):
    plain, bound = (eps(Network(), cond, uncond, s, x) for s in (7.3, Guidance(7.3)))
    assert torch.equal(plain, bound)


def test_outside_the_interval_cond_runs_alone(x, cond, uncond):
    network = Network()
    found = eps(network, cond, uncond, Guidance(3, low=1.0, rescale=1.0), x)
    assert network.calls[0][2] is cond
    assert torch.equal(found, Network()(x, None, cond))


def test_inside_the_interval_it_is_the_plain_scale_to_the_bit(x, cond, uncond):
    inside = eps(Network(), cond, uncond, Guidance(3, low=0.1, high=1.0), x)
    assert torch.equal(inside, eps(Network(), cond, uncond, 3, x))


def test_a_guided_prediction_is_rescaled_to_the_std_of_conds_own(x, cond, uncond):
    def network(x, t, cond):
        rows = x.repeat(len(cond) // len(x), 1, 1, 1)
        return rows * cond.mean(dim=(1, 2))[:, None, None, None]

    full = eps(network, cond, uncond, Guidance(3, rescale=1.0), x)
    expected = network(x, None, cond).std(dim=(1, 2, 3))
    torch.testing.assert_close(full.std(dim=(1, 2, 3)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_not_finite_is_refused(cond, uncond, scale):
    with pytest.raises(GenerationError, match="give a finite number"):
        Denoiser(Network(), Conditioning(cond, uncond), scale)


def test_guidance_without_a_negative_prompts_embedding_is_refused(cond):
    with pytest.raises(GenerationError, match="without a negative prompt's embedding"):
        Denoiser(Network(), Conditioning(cond), 3)


def test_one_cond_for_two_latents_is_refused(x, cond, uncond):
    with pytest.raises(GenerationError, match="2 latents but 1 prompt embeddings"):
        eps(Network(), cond[:1], uncond, 3, x)


# What the network is given


def test_the_network_gets_the_time_as_one_float32_with_its_fraction(x, cond, uncond):
    network = Network()
    eps(network, cond, uncond, 3, x)
    t = network.calls[0][1]
    assert t.dtype == torch.float32 and t.tolist() == [12.5]


def test_the_network_gets_its_own_dtype_and_the_state_keeps_its_own(cond, uncond):
    network, x = Network(), torch.ones(2, 4, 2, 2)
    found = eps(network, cond.bfloat16(), uncond.bfloat16(), 3, x)
    assert network.calls[0][0].dtype == torch.bfloat16 and found.dtype == torch.float32


def test_guidance_is_computed_in_the_states_dtype(cond, uncond):
    # In bfloat16, 1 + 0.001 * (3 - 1) would be rounded to 1.
    found = eps(Network(), cond.bfloat16(), uncond.bfloat16(), 0.001, torch.zeros(2, 4, 2, 2))
    assert found[0, 0, 0, 0].item() == pytest.approx(1.002, abs=1e-6)


def test_inputs_stay_as_they_were(x, cond, uncond):
    before = [tensor.clone() for tensor in (x, cond, uncond)]
    eps(Network(), cond, uncond, 3, x)
    assert all(torch.equal(*pair) for pair in zip((x, cond, uncond), before, strict=True))


def test_the_prompts_are_the_same_tensors_at_every_step(x, cond, uncond):
    network = Network()
    denoise = Denoiser(network, Conditioning(cond, uncond), Guidance(3, low=1.0))
    for level in (LEVEL, NOISY, LEVEL, NOISY, NOISY):
        denoise(x, Moment(level=level))
    alone, both = (
        {id(given) for _, _, given, _ in network.calls if len(given) == n} for n in (2, 4)
    )
    assert len(network.calls) == 5 and len(alone) == len(both) == 1


def test_extra_channels_are_for_the_network_and_the_prediction_is_of_x(x, cond, uncond):
    # As a nine-channel in-painting U-Net takes them: a mask, and a masked picture's latent.
    network, channels = Network(), torch.rand(2, 5, 2, 2)
    denoise = Denoiser(network, Conditioning(cond, uncond, channels), 3)
    found = denoise(x, MOMENT)
    latents = network.calls[0][0]
    assert torch.equal(latents, torch.cat([x, channels.double()], dim=1))
    assert torch.equal(found.eps, eps(Network(), cond, uncond, 3, x))
    assert torch.equal(found.x0, from_eps(x, found.eps, LEVEL).x0)


# Prediction types


@pytest.mark.parametrize("guidance", [Guidance(1), Guidance(3), Guidance(3, rescale=0.7)])
def test_a_network_that_predicts_v_is_guided_in_v_and_converted_once(x, cond, uncond, guidance):
    denoise = Denoiser(Network(), Conditioning(cond, uncond), guidance, prediction="v")
    found = denoise(x, MOMENT)
    v_uncond, v_cond = Network()(x, None, torch.cat([uncond, uncond, cond])).chunk(2)
    v = v_uncond + guidance.scale * (v_cond - v_uncond)
    v = rescale_std(v, v_cond, guidance.rescale) if guidance.rescale else v
    expected = from_v(x, v, LEVEL)
    torch.testing.assert_close(found.eps, expected.eps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.x0, expected.x0, rtol=1e-12, atol=1e-12)


@pytest.mark.holds("fact: v-prediction")
@pytest.mark.parametrize("data_std", [0.5, 2.0])
@pytest.mark.parametrize("alpha_bar", [0.0, 0.3, 0.98])
def test_the_best_v_of_normal_data_gives_its_best_eps_and_x0(x, cond, data_std, alpha_bar):
    # x0 given x is normal: its mean is the best prediction, and eps and v follow from it.
    signal, spread = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    variance = (signal * data_std) ** 2 + spread**2
    x0, noise = signal * data_std**2 / variance * x, spread / variance * x

    def network(x, t, cond):
        return signal * noise - spread * x0

    denoise = Denoiser(network, Conditioning(cond), prediction="v")
    found = denoise(x, Moment(level=Level(t=500.0, alpha_bar=alpha_bar)))
    torch.testing.assert_close(found.eps, noise, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.x0, x0, rtol=1e-12, atol=1e-12)


# Controls


class Toy:
    """A control that adds its value to the middle, and records what it is given."""

    def __init__(self, value, first=0, last=99):
        self.value, self.first, self.last = value, first, last
        self.calls = []

    def active(self, moment):
        return self.first <= moment.step <= self.last

    def tokens(self):
        return None

    def residuals(self, x, t, cond):
        self.calls.append((x, t, cond))
        return UNetResiduals(features={}, skips=(), middle=torch.full((1, 1, 1, 1), self.value))

    def rows(self, some):
        return self

    def crop(self, window):
        return self


def test_residuals_are_those_of_the_active_controls_added_up(x, cond, uncond):
    network, controls = Network(), [Toy(1.0), Toy(2.0, first=1), Toy(4.0, last=1)]
    denoise = Denoiser(network, Conditioning(cond, uncond, controls=controls), 3)
    for step in range(4):
        denoise(x, Moment(level=LEVEL, step=step, n_steps=4))
    assert [r.middle.item() for *_, r in network.calls] == [5.0, 7.0, 3.0, 3.0]


def test_without_an_active_control_the_network_gets_three_arguments(x, cond):
    conditioning = Conditioning(cond, controls=[Toy(1.0, first=5)])
    found = Denoiser(lambda x, t, cond: 2 * x, conditioning)(x, MOMENT)
    assert torch.equal(found.eps, 2 * x)


def test_a_control_gets_the_latent_without_extra_channels(x, cond, uncond):
    control, channels = Toy(1.0), torch.rand(2, 5, 2, 2)
    conditioning = Conditioning(cond, uncond, channels, [control])
    network = Network()
    Denoiser(network, conditioning, 3)(x, MOMENT)
    (latents, t, tokens), (_, their_t, their_tokens, _) = control.calls[0], network.calls[0]
    assert torch.equal(latents, x) and t is their_t and tokens is their_tokens


# Memory


@pytest.mark.filterwarnings("ignore:.*at a time")
def test_where_memory_is_short_images_run_in_parts_to_the_same_prediction(x, cond, uncond):
    class Cramped(Network):
        def __call__(self, x, t, cond, residuals=None):
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(x, t, cond, residuals)

    network, channels = Cramped(), torch.rand(2, 5, 2, 2)
    conditioning = Conditioning(cond, uncond, channels, [Toy(1.0)])
    denoise = Denoiser(network, conditioning, 3)
    whole = Denoiser(Network(), conditioning, 3)(x, MOMENT)
    for _ in range(2):
        found = denoise(x, MOMENT)
        assert torch.equal(found.eps, whole.eps) and torch.equal(found.x0, whole.x0)
    latents = [latents for latents, *_ in network.calls]
    assert [len(each) for each in latents] == [1] * 4
    assert torch.equal(latents[1][:, 4:], channels[1:].double())
    # each part has its own prompts, the same tensor at every step
    assert [id(c) for *_, c, _ in network.calls[:2]] == [
        id(c) for *_, c, _ in network.calls[2:]
    ]


def test_every_image_of_a_call_is_split_off_once():
    parts = []
    splitter = BatchSplitter(5)
    splitter.size = 2
    splitter.run(lambda some: parts.append((some.start, some.stop)) or torch.zeros(1))
    assert parts == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", SAMPLERS)
def test_on_a_gpu_guidance_and_the_blend_of_in_painting_never_wait(name):
    source, steps = NoiseSource([0, 1], (4, 8, 8), device="cuda"), []
    prompts = Conditioning(torch.zeros(2, 3, 5).cuda(), torch.zeros(1, 3, 5).cuda())
    denoise = Denoiser(
        lambda x, t, c: 0.9 * x.repeat(len(c) // len(x), 1, 1, 1),
        prompts,
        Guidance(3.0, low=0.3, high=5.0, rescale=0.7),
    )
    x, z, mask = source.draw(), source.draw(), torch.ones(1, 1, 8, 8).tril().cuda()
    sampler, blend = get_sampler(name), inpaint_blend(z, x, mask)
    levels = sampler.levels(Schedule(ScheduleConfig()), 6)
    run = partial(sample, sampler, denoise, x, levels, draw=source.draw, blend=blend)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):  # the report after the last step
            run(on_step=steps.append, progress=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 6


def test_weights_that_do_not_add_up_to_1_need_a_negative_prompt():
    conditioning = Conditioning(torch.zeros(2, 3, 2), weights=torch.tensor([[0.7], [1.2]]))
    with pytest.raises(GenerationError, match="do not add up to 1"):
        Denoiser(lambda x, t, c: x, conditioning)


def test_directions_of_several_prompts_are_added_before_the_scale():
    def network(x, t, cond):  # the mean of a row of cond, whatever x is
        return cond.mean(dim=(1, 2))[:, None, None, None].expand(-1, 1, 2, 2)

    cond = torch.tensor([2.0, 4.0])[:, None, None].expand(-1, 3, 2)
    uncond = torch.ones(1, 3, 2)
    given = Conditioning(cond, uncond, weights=torch.tensor([[0.5], [2.0]]))
    x, moment = torch.zeros(1, 1, 2, 2), Moment(level=Level(t=500.0, alpha_bar=0.3))
    found = Denoiser(network, given, 3.0)(x, moment).eps
    assert found.unique().tolist() == [1 + 3.0 * (0.5 * (2 - 1) + 2.0 * (4 - 1))]
    # Outside of guidance the directions are added as they are.
    low = Denoiser(network, given, Guidance(3.0, 5.0, 10.0))(x, moment).eps
    assert low.unique().tolist() == [1 + 0.5 * (2 - 1) + 2.0 * (4 - 1)]
