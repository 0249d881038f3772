"""The bundled model draws on the GPU what it draws on the CPU."""

import numpy as np
import pytest
import torch

import labml_sd as sd

pytestmark = pytest.mark.gpu

PROMPT = "a red house in the snow at night"
SETTINGS = {"steps": 4, "seed": 3, "progress": False}


def grey_levels(images):
    return np.stack([np.asarray(image, dtype=np.int16) for image in images])


def assert_nearly_equal(ours, expected):
    off = np.abs(grey_levels(ours) - grey_levels(expected))
    assert off.mean() < 0.05 and off.max() <= 4


@pytest.fixture(scope="module")
def expected(on_cpu):
    return sd.txt2img(on_cpu, PROMPT, n_images=2, **SETTINGS)


def test_in_float32_text_becomes_the_images_of_the_cpu(on_gpu, expected, without_tf32):
    drawn = sd.txt2img(on_gpu, PROMPT, n_images=2, **SETTINGS)
    assert_nearly_equal(drawn, expected)


@pytest.mark.parametrize("fast", [False, True])
def test_in_float32_an_edit_is_that_of_the_cpu(on_gpu, on_cpu, without_tf32, picture, fast):
    image, settings = picture(128), SETTINGS | {"strength": 0.5, "sampler": "euler_a"}
    on_gpu.fast = fast
    try:
        drawn, wanted = (
            sd.img2img(model, PROMPT, image, **settings) for model in (on_gpu, on_cpu)
        )
    finally:
        on_gpu.fast = False
    assert_nearly_equal(drawn, wanted)


def test_in_painting_keeps_the_bits_of_what_is_kept(
    on_gpu, on_cpu, without_tf32, picture, left_half
):
    image, mask = picture(128), left_half(128)
    drawn, wanted = (
        sd.inpaint(model, PROMPT, image, mask, **SETTINGS) for model in (on_gpu, on_cpu)
    )
    assert_nearly_equal(drawn, wanted)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(drawn[0])[kept], np.asarray(image)[kept])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_the_same_scene(gpu, expected, dtype):
    model = sd.load_model(device=gpu, dtype=dtype)
    drawn = sd.txt2img(model, PROMPT, n_images=2, **SETTINGS)
    assert np.abs(grey_levels(drawn) - grey_levels(expected)).mean() < 8


def test_the_same_call_gives_the_same_bytes(small_on_gpu):
    first, again = (sd.txt2img(small_on_gpu, PROMPT, **SETTINGS)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_auto_is_the_gpu_in_a_format_that_it_computes_with(gpu):
    model = sd.load_model()
    assert model.device.type == gpu.type
    if gpu.type == "cuda":
        able = torch.cuda.is_bf16_supported()
        assert model.dtype == (torch.bfloat16 if able else torch.float16)
