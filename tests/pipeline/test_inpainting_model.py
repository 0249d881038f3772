import pytest
import torch
from PIL import Image

from labml_sd.config import inpainting
from labml_sd.images.tensors import to_tensor
from labml_sd.pipeline.inpainting_model import channels_for, channels_for_nothing, hidden


@pytest.fixture
def seeing(make_model, small_config):
    return make_model(inpainting(small_config)).float()


def test_a_plain_model_has_no_further_channels(model, photo):
    white = Image.new("L", (32, 32), 255)
    assert channels_for(model, model, photo(32, 32), white, 2) is None
    assert channels_for_nothing(model, model, 32, 32, 2) is None


def test_the_mask_comes_first_then_the_latent_of_what_is_visible(seeing, photo):
    mask = Image.new("L", (32, 32))
    mask.paste(255, (8, 8, 16, 16))
    image = photo(32, 32)
    channels = channels_for(seeing, seeing, image, mask, 2)
    assert channels.shape == (2, 5, 4, 4)
    cells = torch.zeros(4, 4)
    cells[1, 1] = 1
    assert torch.equal(channels[:, 0], cells.expand(2, 4, 4))
    pixels = to_tensor(image)
    pixels[..., 8:16, 8:16] = 0  # grey
    expected = seeing.encode_image(pixels).expand(2, -1, -1, -1)
    torch.testing.assert_close(channels[:, 1:], expected)


def test_a_pixel_is_visible_below_one_half_of_the_mask():
    pixels, mask = torch.ones(1, 3, 1, 4), torch.tensor([[[[0.0, 0.49, 0.5, 1.0]]]])
    assert hidden(pixels, mask)[0, 0, 0].tolist() == [1, 1, 0, 0]


def test_without_a_picture_all_is_grey_and_all_is_painted(seeing):
    channels = channels_for_nothing(seeing, seeing, 32, 32, 1)
    assert (channels[:, :1] == 1).all()
    grey = seeing.encode_image(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(channels[:, 1:], grey)


def test_a_picture_of_an_odd_size_is_padded(seeing, photo):
    mask = Image.new("L", (37, 30), 255)
    assert channels_for(seeing, seeing, photo(37, 30), mask, 1).shape[2:] == (4, 6)
