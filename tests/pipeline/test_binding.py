import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.offload import Offloaded
from labml_sd.pipeline.binding import denoiser_for, network_for, running
from labml_sd.pipeline.request import make_request
from labml_sd.sampler import Level, Moment

MOMENT = Moment(level=Level(t=500.0, alpha_bar=0.3))


@pytest.fixture
def x():
    return torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def request(model, **settings):
    return make_request(model, ["a house", "a boat"], {"guidance_scale": 3.0, **settings})


@torch.no_grad()
def test_the_denoiser_of_a_call_has_its_prompts_and_its_guidance(model, x):
    found = denoiser_for(model, request(model, negative_prompt="snow"))(x, MOMENT)
    cond, uncond = model.encode_prompt(["a house", "a boat"]), model.encode_prompt("snow")
    eps_cond, eps_uncond = (
        model(x, torch.tensor([500.0]), c) for c in (cond, uncond.expand_as(cond))
    )
    expected = eps_uncond + 3 * (eps_cond - eps_uncond)
    torch.testing.assert_close(found.eps, expected, rtol=1e-4, atol=1e-5)


def test_at_guidance_scale_1_no_negative_prompt_is_encoded(model):
    denoise = denoiser_for(model, request(model, guidance_scale=1))
    assert denoise.conditioning.uncond is None


def test_a_model_without_fast_is_its_own_network(model):
    assert network_for(model) is model


def test_a_call_has_the_model_its_accelerated_form_or_a_run_of_an_offloaded_model(make_model):
    model = make_model()
    with running(model) as network:
        assert network is model
    model.fast = True
    with running(model) as network:
        assert network.unet is not model.unet
    offloaded = Offloaded(model, model.device)
    with running(offloaded) as network:
        assert network is not offloaded and network.fast


@torch.no_grad()
def test_the_accelerated_networks_of_a_fast_model_predict_the_same(make_model, x):
    model = make_model()
    plain = denoiser_for(network_for(model), request(model))(x, MOMENT)
    model.fast = True
    fast = denoiser_for(network_for(model), request(model))(x, MOMENT)
    torch.testing.assert_close(fast.eps, plain.eps, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("fast", [False, True])
def test_a_hook_on_the_whole_model_has_its_effect(make_model, x, fast):
    model = make_model()
    model.fast = fast
    plain = denoiser_for(network_for(model), request(model))(x, MOMENT).eps
    model.register_forward_hook(lambda module, arguments, output: 2 * output)
    doubled = denoiser_for(network_for(model), request(model))(x, MOMENT).eps
    torch.testing.assert_close(doubled, 2 * plain, rtol=1e-4, atol=1e-5)


def test_more_layers_than_there_are_cannot_be_skipped(model):
    with pytest.raises(GenerationError, match=r"clip_skip is 99: the text encoder of .* has"):
        make_request(model, "a", {"clip_skip": 99})
