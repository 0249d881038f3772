import pytest
import torch
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.training.pictures import encode_pictures, picture_files, square, square_batch


def test_all_pictures_of_a_folder_in_the_order_of_their_names(tmp_path, photo):
    for name in ("b.png", "a.jpg", "c.bmp", "d.tif", "E.WEBP"):
        photo(40, 30).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in picture_files(tmp_path)] == [
        *("E.WEBP", "a.jpg", "b.png", "c.bmp", "d.tif")
    ]
    assert square_batch(picture_files(tmp_path), 16).shape == (5, 3, 16, 16)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no pictures in it"):
        picture_files(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        picture_files(tmp_path / "missing")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_the_square_in_the_middle_is_taken(tmp_path, suffix):
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    path = tmp_path / f"x{suffix}"
    image.save(path)
    found = square(path, 10)
    assert found.size == (10, 10)
    assert found.getpixel((5, 5)) == (0, 0, 255)
    assert min(blue for _, _, blue in found.get_flattened_data()) > 200  # red is cut off


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_damaged_picture_is_named(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"BM or no picture")
    with pytest.raises(ImageError, match="x"):
        square(path, 16)


def test_mirror_images_follow_the_pictures(model):
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    autoencoder = model.autoencoder
    found = encode_pictures(autoencoder, images, mirror=True)
    assert len(found.mean) == len(found.std) == 10
    plain = encode_pictures(autoencoder, images, mirror=False)
    turned = encode_pictures(autoencoder, images.flip(-1), mirror=False)
    torch.testing.assert_close(found.mean, torch.cat([plain.mean, turned.mean]))
    assert (found.std > 0).all()
