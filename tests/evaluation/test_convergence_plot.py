import sys

import numpy as np
import pytest
from PIL import Image

from labml_sd.evaluation.convergence import CURVES, ODE
from labml_sd.evaluation.convergence_plot import STYLES, draw_convergence

ROWS = [
    {"sampler": name, "spacing": spacing, "evaluations": n, "rms": (1 + 0.3 * i) / n**1.5}
    for spacing in CURVES
    for i, name in enumerate(ODE)
    for n in (5, 10, 20, 50, 100)
]


def test_every_sampler_has_a_colour_and_a_mark_of_its_own():
    assert set(STYLES) == set(ODE)
    assert (
        len({colour for colour, _, _ in STYLES.values()})
        == len({mark for _, mark, _ in STYLES.values()})
        == 8
    )


def test_each_spacing_has_a_plot_with_every_sampler_in_it(tmp_path):
    draw_convergence(ROWS, CURVES, tmp_path / "error.png")
    pixels = np.asarray(Image.open(tmp_path / "error.png").convert("RGB"), dtype=int)
    pixels = pixels[: int(0.85 * len(pixels))]  # below stands the legend
    for half in np.array_split(pixels, 2, axis=1):
        for name, (colour, _, _) in STYLES.items():
            wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
            assert (np.abs(half - wanted).sum(axis=2) < 10).sum() > 50, name


def test_the_line_falls(tmp_path):
    rows = [row for row in ROWS if row["sampler"] == "unipc"]
    draw_convergence(rows, CURVES[:1], tmp_path / "error.png")
    pixels = np.asarray(Image.open(tmp_path / "error.png").convert("RGB"), dtype=int)
    colour = STYLES["unipc"][0]
    at, columns = np.nonzero(
        np.abs(pixels - [int(colour[k : k + 2], 16) for k in (1, 3, 5)]).sum(2) < 10
    )
    drawn = at < 0.85 * len(pixels)
    at, columns = at[drawn], columns[drawn]
    middle = columns.min() + (columns.max() - columns.min()) / 2
    assert (
        at[columns < middle].mean() < at[columns > middle].mean()
    )  # rows are counted from the top


def test_without_matplotlib_there_is_a_warning_and_no_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match="pip install"):
        draw_convergence(ROWS, CURVES, tmp_path / "error.png")
    assert not (tmp_path / "error.png").exists()
