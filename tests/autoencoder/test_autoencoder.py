from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor, nn

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import AutoencoderConfig

SMALL = AutoencoderConfig(
    channels=4, channel_multipliers=(1, 2, 3), n_res_blocks=1, norm_groups=2, scale_factor=0.25
)


@pytest.fixture
def autoencoder(randomise: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return randomise(Autoencoder(SMALL).double())


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=Generator().manual_seed(1))


@pytest.mark.holds("labml_sd.autoencoder.autoencoder.Autoencoder", "fact: latent-scale")
def test_the_latent_is_the_scale_times_the_posteriors_mean(autoencoder, image):
    assert torch.equal(autoencoder.encode(image), 0.25 * autoencoder.posterior(image).mean)


@pytest.mark.holds("labml_sd.autoencoder.autoencoder.Autoencoder", "fact: latent-scale")
def test_with_a_generator_the_latent_is_the_scale_times_a_sample(autoencoder, image):
    draw = autoencoder.posterior(image).sample(Generator().manual_seed(5))
    assert torch.equal(autoencoder.encode(image, Generator().manual_seed(5)), 0.25 * draw)


@pytest.mark.holds("labml_sd.autoencoder.autoencoder.Autoencoder")
def test_decoding_divides_by_the_scale(autoencoder):
    z = torch.randn(1, 4, 2, 3, dtype=torch.float64, generator=Generator().manual_seed(2))
    expected = autoencoder.decoder(autoencoder.post_quant_conv(z / 0.25))
    assert torch.equal(autoencoder.decode(z), expected)


def test_the_round_trip_does_not_depend_on_the_scale(autoencoder, image):
    before = autoencoder(image)
    autoencoder.config = replace(SMALL, scale_factor=0.5)  # a power of two: nothing is rounded
    assert torch.equal(autoencoder(image), before)


def test_scaled_applies_the_scale_that_encode_applies(autoencoder, image):
    assert torch.equal(
        autoencoder.scaled(autoencoder.posterior(image).mode()), autoencoder.encode(image)
    )


def test_forward_is_decode_of_encode(autoencoder, image):
    assert torch.equal(autoencoder(image), autoencoder.decode(autoencoder.encode(image)))


def test_the_moments_are_the_quant_conv_of_the_encoder(autoencoder, image):
    posterior = autoencoder.posterior(image)
    moments = autoencoder.quant_conv(autoencoder.encoder(image))
    assert torch.equal(torch.cat([posterior.mean, posterior.log_var], dim=1), moments)


@pytest.mark.parametrize("height, width", [(4, 4), (4, 20), (12, 8)])
def test_sizes_that_are_multiples_of_the_factor_are_reconstructed(autoencoder, height, width):
    image = torch.zeros(1, 3, height, width, dtype=torch.float64)
    assert autoencoder.encode(image).shape == (1, 4, height // 4, width // 4)
    assert autoencoder(image).shape == image.shape


def test_the_input_is_not_modified(autoencoder, image):
    before = image.clone()
    autoencoder(image)
    assert torch.equal(image, before)


@pytest.mark.holds("fact: vae-norm")
def test_every_norm_uses_eps_1e_minus_6(autoencoder):
    assert {m.eps for m in autoencoder.modules() if isinstance(m, nn.GroupNorm)} == {1e-6}


def test_at_v1_size_there_are_248_tensors_and_83_653_863_numbers():
    with torch.device("meta"):
        state = Autoencoder(AutoencoderConfig()).state_dict()
    assert (len(state), sum(v.numel() for v in state.values())) == (248, 83_653_863)
