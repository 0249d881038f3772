import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import NOISES, NoiseSource, check_noise, check_seed, cuda_noise

SHAPE = (4, 3, 5)


@pytest.mark.parametrize("noise", NOISES)
def test_an_image_in_a_batch_draws_what_it_draws_alone(noise):
    batch = NoiseSource([7, 3, 11], SHAPE, noise=noise)
    alone = NoiseSource([3], SHAPE, noise=noise)
    for _ in range(3):
        assert torch.equal(batch.draw()[1:2], alone.draw())


def test_the_first_draw_is_pytorchs_own_for_that_seed():
    expected = torch.randn(SHAPE, generator=torch.Generator().manual_seed(42))
    assert torch.equal(NoiseSource([42], SHAPE).draw()[0], expected)


def test_noise_cuda_is_that_of_a_gpu():
    source, stream = NoiseSource([42], SHAPE, noise="cuda"), cuda_noise(42, SHAPE)
    assert all(torch.equal(source.draw()[0], next(stream)) for _ in range(2))


@pytest.mark.parametrize("noise", NOISES)
def test_draws_differ_from_one_another(noise):
    source = NoiseSource([0], SHAPE, noise=noise)
    assert not torch.equal(source.draw(), source.draw())


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = NoiseSource([0], SHAPE).draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(NoiseSource([0], SHAPE).draw(), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_dtype_is_a_cast_of_the_float32_draw(dtype):
    draw = NoiseSource([5, 6], SHAPE, dtype=dtype).draw()
    assert torch.equal(draw, NoiseSource([5, 6], SHAPE).draw().to(dtype))


@pytest.mark.parametrize("noise", NOISES)
def test_it_draws_on_the_cpu_also_inside_another_device_context(noise):
    with torch.device("meta"):
        draw = NoiseSource([5], SHAPE, noise=noise).draw()
    assert torch.equal(draw, NoiseSource([5], SHAPE, noise=noise).draw())


def test_noise_is_moved_to_the_device_asked_for():
    assert NoiseSource([5], SHAPE, device="meta").draw().device.type == "meta"


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**63, 2**64 - 1])
def test_the_ends_of_the_seed_range_draw(seed):
    assert NoiseSource([seed], SHAPE).draw().shape == (1, *SHAPE)


def test_seeds_that_differ_by_two_to_the_32_draw_the_same_noise():
    assert torch.equal(NoiseSource([9], SHAPE).draw(), NoiseSource([9 + 2**32], SHAPE).draw())


@pytest.mark.parametrize("seed", [-1, 2**64, True, 1.0, "42", None])
def test_a_seed_out_of_range_is_refused_in_one_line(seed):
    with pytest.raises(
        GenerationError,
        match=r"^seed is .*; give a whole number from 0 to 18446744073709551615$",
    ):
        check_seed(seed)


def test_a_source_refuses_a_bad_seed():
    with pytest.raises(GenerationError, match="seed is -1"):
        NoiseSource([3, -1], SHAPE)


@pytest.mark.parametrize("noise", ["gpu", "CPU", "", None, 3])
def test_an_unknown_noise_is_refused_in_one_line(noise):
    with pytest.raises(GenerationError, match=r"^noise is .*; choose one of cpu, cuda$"):
        check_noise(noise)
