import pytest
import torch
from PIL import Image

from labml_sd.interrogator.preprocessing import blip_square, clip_square, normalised


def noise(width, height):
    draw = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (height, width, 3), generator=draw, dtype=torch.uint8)
    return Image.fromarray(values.numpy())


SIZES = [(50, 50), (61, 40), (40, 61), (300, 225), (24, 31), (333, 97)]


@pytest.mark.parametrize("shape", SIZES)
def test_clip_sees_what_the_processor_of_transformers_gives(shape):
    from transformers import CLIPImageProcessorPil

    image = noise(*shape)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    expected = torch.as_tensor(processor(image, return_tensors="np")["pixel_values"])
    torch.testing.assert_close(normalised(clip_square(image, 32)), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("shape", SIZES)
def test_blip_sees_what_the_processor_of_transformers_gives(shape):
    from transformers import BlipImageProcessorPil

    image = noise(*shape)
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    expected = torch.as_tensor(processor(image, return_tensors="np")["pixel_values"])
    torch.testing.assert_close(normalised(blip_square(image, 32)), expected, atol=2e-6, rtol=0)


def test_the_numbers_are_the_published_ones():
    black = normalised(Image.new("RGB", (2, 2)))[0, :, 0, 0]
    white = normalised(Image.new("RGB", (2, 2), "white"))[0, :, 0, 0]
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), 1 / (white - black)
    torch.testing.assert_close(-black * std, mean)
    torch.testing.assert_close(std, torch.tensor([0.26862954, 0.26130258, 0.27577711]))


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_a_very_long_picture_needs_little_memory(shape):
    image = Image.new("RGB", shape, "red")
    assert clip_square(image, 224).getpixel((100, 100)) == (255, 0, 0)
