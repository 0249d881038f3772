import csv
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from labml_sd.training.progress import (
    BLUE,
    draw_curve,
    save_heat,
    save_rows,
    smoothed,
    write_curve,
)

CURVE = [{"step": float(n), "loss": math.exp(-n / 40), "psnr": 9.0} for n in range(1, 100)]


def test_the_table_has_a_line_for_every_row(tmp_path):
    write_curve(CURVE, tmp_path / "curve.csv")
    rows = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 100))
    assert float(rows[39]["loss"]) == pytest.approx(math.exp(-1), rel=1e-5)


def test_the_loss_is_drawn_as_a_falling_line(tmp_path):
    draw_curve(CURVE, "line", tmp_path / "curve.png")
    pixels = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB"), dtype=int)
    wanted = [int(BLUE[k : k + 2], 16) for k in (1, 3, 5)]
    rows, columns = np.nonzero(np.abs(pixels - wanted).sum(axis=2) < 10)
    rows = rows[columns < 400]  # the legend stands on the right
    columns = columns[columns < 400]
    left, right = rows[columns < 150].mean(), rows[columns > 350].mean()
    middle = rows[(columns > 200) & (columns < 300)].mean()
    assert left < middle < right  # rows are counted from the top


def test_a_smooth_value_is_the_mean_of_its_neighbours():
    values = np.arange(100.0) ** 2
    smooth = smoothed(values)
    assert smooth[50] == pytest.approx(values[47:54].mean())
    assert smooth[0] == pytest.approx(values[:4].mean())
    assert smooth[99] == pytest.approx(values[96:].mean())


def test_without_matplotlib_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    expected = (
        r"^the loss is not plotted: matplotlib is missing; pip install 'labml_sd\[train\]'$"
    )
    with pytest.warns(UserWarning, match=expected):
        draw_curve(CURVE, "line", tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


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
