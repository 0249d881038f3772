import inspect
import os
from inspect import unwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labml_sd.errors import GenerationError, ImageError
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import (
    MAX_PIXELS,
    blend_pixels,
    crop,
    latent_mask,
    load_img,
    open_image,
    pad_to_multiple,
    resize_to,
    save_images,
    to_pil,
    to_tensor,
)

# A picture whose corners tell every turn and mirror apart.
CORNERS = np.array(
    [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]], [[200, 100, 0], [1, 2, 3]]], np.uint8
)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 300
    return text


def test_every_8_bit_value_survives_the_trip_through_a_tensor():
    values = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    back = to_pil(to_tensor(Image.fromarray(values)))[0]
    assert np.array_equal(np.asarray(back), values)


@pytest.mark.holds("fact: rounding")
def test_pixels_are_rounded_not_truncated():
    just_below = torch.full((1, 3, 1, 1), (100.6 / 127.5) - 1)
    assert to_pil(just_below)[0].getpixel((0, 0)) == (101, 101, 101)


def test_values_beyond_the_range_are_clamped():
    beyond = torch.tensor([-1.7, 0.0, 1.7]).reshape(1, 3, 1, 1)
    assert to_pil(beyond)[0].getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.holds("fact: finite")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_an_error_that_names_the_stage(value):
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1, 1, 0] = value
    with pytest.raises(GenerationError, match='"decode"') as error:
        to_pil(image)
    one_line(error)


def test_half_precision_pictures_can_be_saved():
    assert to_pil(torch.ones(1, 3, 1, 1, dtype=torch.bfloat16))[0].getpixel((0, 0)) == (
        255,
        255,
        255,
    )


def test_load_img_gives_values_in_minus_one_to_one_at_the_files_size(tmp_path):
    Image.fromarray(CORNERS).save(tmp_path / "a.png")
    image = load_img(tmp_path / "a.png")
    assert image.shape == (1, 3, 3, 2) and image.dtype == torch.float32
    assert image[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_a_picture_that_was_turned_is_not_turned_again(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGB", "RGBA"):
        image = Image.fromarray(CORNERS).convert(mode)
        image.save(tmp_path / "turned.webp", lossless=True, exif=exif.tobytes())
        once = open_image(tmp_path / "turned.webp")
        assert once.size == (3, 2) and open_image(once).tobytes() == once.tobytes()


def test_transparent_parts_are_laid_on_white_whatever_their_colour():
    values = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    assert np.asarray(open_image(Image.fromarray(values))).tolist() == [
        [[255, 255, 255], [10, 20, 30]]
    ]


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "CMYK", "RGB", "RGBA", "YCbCr", "HSV", "I", "I;16"]
)
def test_every_mode_becomes_rgb(mode):
    image = open_image(Image.new(mode, (3, 2)))
    assert (image.mode, image.size) == ("RGB", (3, 2))


def test_opening_does_not_change_the_callers_image():
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    open_image(image)
    assert image.mode == "RGBA" and image.getpixel((0, 0)) == (1, 2, 3, 4)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_empty_image_is_refused(size):
    with pytest.raises(ImageError, match="empty") as error:
        open_image(Image.new("RGB", size))
    one_line(error)


def test_what_is_neither_path_nor_image_is_refused():
    with pytest.raises(ImageError, match="ndarray"):
        unwrap(read_picture)(np.zeros((2, 2)))


def test_resizing_with_one_side_keeps_the_proportions():
    assert resize_to(Image.new("RGB", (40, 20)), 10, None).size == (20, 10)
    assert resize_to(Image.new("RGB", (40, 20)), None, 10).size == (10, 5)


def test_resizing_to_the_same_size_changes_nothing(photo):
    image = photo(9, 7)
    assert resize_to(image, 7, 9).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "height, width", [(0, 5), (-8, 5), (5, 0), (100_000, 100_000), (0, None)]
)
def test_an_impossible_size_is_one_line(height, width):
    with pytest.raises(GenerationError) as error:
        resize_to(Image.new("RGB", (4, 4)), height, width)
    one_line(error)


def test_resizing_a_mask_keeps_black():
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    assert np.asarray(resize_to(mask, 24, 24))[:, :11].max() == 0


any_side = st.none() | st.integers(-3, 200) | st.integers(10**5, 10**12)


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(st.integers(1, 60), st.integers(1, 60), any_side, any_side)
def test_any_size_is_made_or_is_one_line(width, height, tall, wide):
    try:
        made = resize_to(Image.new("L", (width, height)), tall, wide)
    except GenerationError as error:
        assert str(error).isprintable()
    else:
        assert made.width * made.height <= MAX_PIXELS
        assert (tall is None or made.height == tall) and (wide is None or made.width == wide)


def test_padding_mirrors_without_doubling_the_edge():
    row = torch.arange(3.0).reshape(1, 1, 1, 3)
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 63), (64, 65), (100, 75)])
def test_cropping_undoes_padding_at_any_size(size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    padded = pad_to_multiple(image, 64)
    assert padded.shape[-2] % 64 == 0 and padded.shape[-1] % 64 == 0
    assert torch.equal(crop(padded, *size), image)


def test_a_fitting_size_is_not_padded():
    image = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pad_to_multiple(image, 64), image)


def test_a_cell_is_painted_when_one_of_its_pixels_is():
    mask = torch.zeros(1, 1, 16, 24)
    mask[0, 0, 7, 8] = 1 / 255
    assert latent_mask(mask, 8)[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]


def test_blending_is_linear_and_exact_at_both_ends():
    kept, painted = (
        Image.new("RGB", (3, 1), (10, 20, 31)),
        Image.new("RGB", (3, 1), (201, 99, 4)),
    )
    mask = Image.fromarray(np.array([[0, 51, 255]], np.uint8))
    rows = np.asarray(blend_pixels(kept, painted, mask))[0].tolist()
    assert rows == [[10, 20, 31], [48, 36, 26], [201, 99, 4]]  # 10 + 0.2 * 191 = 48.2


def test_pictures_are_numbered_from_zero_in_a_new_folder(tmp_path, photo):
    paths = save_images([photo(8, 8), photo(9, 9)], tmp_path / "new" / "outputs")
    assert [p.name for p in paths] == ["00000.png", "00001.png"]
    assert [read_picture(p).tobytes() for p in paths] == [
        photo(8, 8).tobytes(),
        photo(9, 9).tobytes(),
    ]


def test_numbers_continue_after_the_highest_even_after_a_deletion(tmp_path, photo):
    paths = save_images([photo(8, 8)] * 3, tmp_path)
    paths[0].unlink()
    assert save_images([photo(8, 8)], tmp_path)[0].name == "00003.png"


def test_numbers_may_begin_anywhere_and_pass_over_those_in_use(photo, tmp_path):
    def saved(number, count=1):
        paths = save_images([photo(8, 8)] * count, tmp_path, number=number)
        return [path.name for path in paths]

    assert saved(7, 2) == ["00007.png", "00008.png"]
    assert saved(6, 2) == ["00006.png", "00009.png"]
    with pytest.raises(ImageError, match="number is -1: give a whole number, at least 0"):
        saved(-1)


def test_a_number_is_used_once_whatever_the_format(tmp_path, photo):
    formats = ["png", "jpg", "webp", "JPEG"]
    names = [save_images([photo(8, 8)], tmp_path, img_format=f)[0].name for f in formats]
    assert names == ["00000.png", "00001.jpg", "00002.webp", "00003.jpg"]


def test_each_prefix_has_its_own_numbers(tmp_path, photo):
    save_images([photo(8, 8)], tmp_path, prefix="cat-")
    assert save_images([photo(8, 8)], tmp_path, prefix="dog-")[0].name == "dog-00000.png"


def test_a_name_taken_in_the_meantime_is_not_overwritten(tmp_path, photo, monkeypatch):
    monkeypatch.setattr("labml_sd.images.writing.next_number", lambda folder, prefix: 0)
    (tmp_path / "00000.png").write_bytes(b"another program's")
    assert save_images([photo(8, 8)], tmp_path)[0].name == "00001.png"
    assert (tmp_path / "00000.png").read_bytes() == b"another program's"


def test_a_failed_write_leaves_nothing_behind(tmp_path, photo, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match="No space left on device") as error:
        save_images([photo(8, 8)], tmp_path)
    one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_picture_has_the_permissions_of_the_umask(tmp_path, photo):
    (tmp_path / "plain").touch()
    path = save_images([photo(8, 8)], tmp_path)[0]
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "outdir, options, message",
    [
        ("file", {}, "cannot write to"),
        ("new", {"img_format": "gif"}, "unknown: choose png, jpg, webp"),
        ("new", {"prefix": "../up"}, "names a folder"),
        ("new", {"prefix": "x" * 300}, "File name too long.*: choose a shorter prefix"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(outdir, options, message, tmp_path, photo):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match=message) as error:
        save_images([photo(8, 8)], tmp_path / outdir, **options)
    one_line(error)


@pytest.mark.parametrize("wrong", [None, "a.png", np.zeros(3)])
def test_what_is_in_the_list_is_named(wrong, tmp_path, photo):
    unchecked = inspect.unwrap(save_images)  # the check of types in tests comes first
    message = f"contains an item of type {type(wrong).__name__}: give a list"
    with pytest.raises(ImageError, match=message):
        unchecked([photo(8, 8), wrong], tmp_path)
    assert not list(tmp_path.iterdir())
