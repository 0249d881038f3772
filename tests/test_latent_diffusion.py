import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

import labml_sd
from labml_sd.config import ModelConfig, sd_v1
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import Schedule

PACKAGE = Path(labml_sd.__file__).parent


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(0))


def test_at_v1_size_the_three_networks_have_the_checkpoints_tensors_and_numbers(tokenizer):
    with torch.device("meta"):
        model = LatentDiffusion(sd_v1(), tokenizer)
    found = {
        name: (len(network.state_dict()), sum(p.numel() for p in network.parameters()))
        for name, network in model.named_children()
    }
    assert found == {
        "text_encoder": (196, 123_060_480),
        "unet": (686, 859_520_964),
        "autoencoder": (248, 83_653_863),
    }


def test_there_are_parameters_only_and_no_buffers(model):
    assert not list(model.buffers())


def test_a_model_built_without_memory_has_a_real_schedule(small_config, tokenizer):
    with torch.device("meta"):
        built = LatentDiffusion(small_config, tokenizer)
    assert built.device.type == "meta"
    assert torch.equal(built.schedule.alpha_bar, Schedule(small_config.schedule).alpha_bar)


@pytest.mark.holds("fact: schedule")
def test_casting_the_model_leaves_the_schedule_in_float64(make_model):
    model = make_model().half()
    assert model.dtype == torch.float16
    assert model.schedule.alpha_bar.dtype == torch.float64


def test_device_and_dtype_are_those_of_the_weights(model):
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)


def test_prompts_become_embeddings_of_the_configured_shape(model, small_config):
    text = small_config.text_encoder
    assert model.encode_prompt("a cat").shape == (1, text.n_positions, text.d_model)
    assert model.encode_prompt(["a cat", "a house"]).shape == (
        2,
        text.n_positions,
        text.d_model,
    )


def test_an_image_becomes_the_mean_of_the_posterior_scaled(model, small_config):
    image = randn(1, 3, 32, 32)
    scale = small_config.autoencoder.scale_factor
    assert torch.equal(
        model.encode_image(image), scale * model.autoencoder.posterior(image).mean
    )


def test_with_a_generator_an_image_becomes_a_draw(model, small_config):
    image = randn(1, 3, 32, 32)
    draw = model.autoencoder.posterior(image).sample(Generator().manual_seed(4))
    encoded = model.encode_image(image, Generator().manual_seed(4))
    assert torch.equal(encoded, small_config.autoencoder.scale_factor * draw)


def test_a_latent_becomes_the_decoders_image(model):
    z = randn(2, 4, 4, 4)
    assert torch.equal(model.decode_latent(z), model.autoencoder.decode(z))


def test_forward_is_the_unet(model):
    x, t, c = randn(2, 4, 4, 4), torch.tensor([5, 700]), model.encode_prompt(["a cat", ""])
    assert torch.equal(model(x, t, c), model.unet(x, t, c))


def test_images_and_latents_are_taken_in_any_dtype(make_model: Callable[[], LatentDiffusion]):
    model = make_model().double()
    assert model.encode_image(randn(1, 3, 32, 32)).dtype == torch.float64
    assert model.decode_latent(randn(1, 4, 4, 4).half()).dtype == torch.float64


@pytest.mark.parametrize("height, width", [(16, 16), (16, 48), (64, 32)])
def test_every_size_that_is_a_multiple_works(model, small_config: ModelConfig, height, width):
    assert small_config.size_multiple == 16
    image = randn(1, 3, height, width)
    z = model.encode_image(image)
    assert z.shape == (1, 4, height // 8, width // 8)
    assert model(z, torch.tensor([9]), model.encode_prompt("")).shape == z.shape
    assert model.decode_latent(z).shape == image.shape


def test_a_size_that_is_no_multiple_fails_in_the_unet(model):
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        model(randn(1, 4, 3, 4), torch.tensor([9]), model.encode_prompt(""))


@pytest.mark.holds("fact: latent-scale")
def test_the_scale_of_the_latent_is_applied_in_the_autoencoder_and_nowhere_else():
    places = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp):
                sides = (node.left, node.right)
                if any(
                    isinstance(s, ast.Attribute) and s.attr == "scale_factor" for s in sides
                ):
                    places.add(path.relative_to(PACKAGE).as_posix())
    assert places == {"autoencoder/autoencoder.py"}
