"""What runs on a GPU, followed without one, on PyTorch's meta device: tensors without numbers.

Reading a number there fails, where on a GPU the host would wait; so do most operations between
two devices. What the GPU itself computes: `pytest -m gpu`.
"""

import pytest
import torch

from labml_sd.acceleration import accelerate
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import Guidance, NoiseSource, get_sampler, inpaint_blend, sample
from labml_sd.utilities.shapes_only import shapes_only

GUIDANCE = Guidance(3.0, low=0.3, high=5.0, rescale=0.7)
SHAPE = (4, 4, 4)


@pytest.fixture(params=[False, True], ids=["plain", "accelerated"])
def network(request, small_config, tokenizer):
    """A model in float16 whose weights are not on the CPU."""
    with shapes_only():
        model = LatentDiffusion(small_config, tokenizer).half()
    model.eval().requires_grad_(False)
    return accelerate(model) if request.param else model


def test_images_and_latents_go_where_the_network_is(network):
    image = network.decode_latent(torch.zeros(2, *SHAPE))
    latent = network.encode_image(torch.zeros(1, 3, 32, 32))
    assert image.is_meta and latent.is_meta
    assert image.dtype == latent.dtype == torch.float16


def test_prompts_are_embedded_where_the_network_is(network):
    c = network.encode_prompt(["a red house", ""])
    assert c.is_meta and c.dtype == torch.float16 and len(c) == 2


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "dpmpp_sde"])
def test_a_guided_loop_reads_no_number_before_its_last_step_is_done(network, name):
    sampler, n_steps, done = get_sampler(name), 5, []
    cond, uncond = network.encode_prompt(["a boat", "a cat"]), network.encode_prompt(["", ""])
    denoise = Denoiser(network, Conditioning(cond, uncond), GUIDANCE)
    draw = NoiseSource([0, 1], SHAPE, device="meta").draw
    mask = torch.ones(1, 1, *SHAPE[1:], device="meta").tril()
    x = draw()
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):  # the report on NaN
        sample(
            sampler,
            denoise,
            x,
            sampler.levels(network.schedule, n_steps),
            draw=draw,
            blend=inpaint_blend(draw(), x, mask),
            on_step=done.append,
            progress=False,
        )
    assert [step.index for step in done] == list(range(n_steps))
    assert all(step.x.is_meta and step.x.dtype == torch.float32 for step in done)
