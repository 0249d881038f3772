import torch
from PIL import Image

from labml_sd.training.image_grid import save_heat, save_rows


def test_rows_stand_under_one_another(tmp_path):
    black, white = -torch.ones(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    save_rows([black, white], tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (10, 8)
    assert sheet.getpixel((9, 3)) == (0, 0, 0)
    assert sheet.getpixel((0, 4)) == (255, 255, 255)


def test_the_largest_number_is_white_and_the_smallest_black(tmp_path):
    save_heat(torch.tensor([[3.0, 5.0], [4.0, 3.0]]), tmp_path / "heat.png", cell=2)
    heat = Image.open(tmp_path / "heat.png")
    assert [heat.getpixel(at) for at in ((0, 0), (3, 1), (1, 2))] == [0, 255, 128]
