"""A seed is the same image on every device: noise is drawn on the CPU, and then moved."""

import pytest
import torch

from labml_sd.sampler import NoiseSource, Variation

pytestmark = pytest.mark.gpu

SEEDS, SHAPE = [0, 1, 2**40 + 7], (4, 16, 12)


@pytest.mark.parametrize("noise", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_draw_on_the_gpu_is_the_cpus_bit_for_bit(gpu, noise, dtype):
    on_gpu, on_cpu = (
        NoiseSource(SEEDS, SHAPE, device, dtype, noise=noise)
        for device in (gpu, torch.device("cpu"))
    )
    for _ in range(3):
        drawn, expected = on_gpu.draw(), on_cpu.draw()
        assert drawn.device.type == gpu.type
        assert torch.equal(drawn.cpu(), expected)


def test_so_is_a_variation_up_to_rounding(gpu):
    variation = Variation((5, 6, 7), 0.3)
    drawn, expected = (
        NoiseSource(SEEDS, SHAPE, device, torch.float32, variation=variation).draw().cpu()
        for device in (gpu, torch.device("cpu"))
    )
    torch.testing.assert_close(drawn, expected, rtol=1e-6, atol=1e-6)


def test_drawing_on_the_gpu_leaves_the_global_generators_alone(gpu):
    states = torch.get_rng_state(), gpu.type == "cuda" and torch.cuda.get_rng_state()
    NoiseSource(SEEDS, SHAPE, gpu, torch.float32).draw()
    assert torch.equal(torch.get_rng_state(), states[0])
    if gpu.type == "cuda":
        assert torch.equal(torch.cuda.get_rng_state(), states[1])
