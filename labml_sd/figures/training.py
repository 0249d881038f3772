r"""Learning curves, and pictures saved during training.

Maps       losses, a PNG file  ->  Picture
Tests      tests/figures/test_training.py
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import axes
from labml_sd.training.curve import smoothed

PALE = COLOURS[5]


def learning_curve(
    steps: Sequence[float | int],
    loss: Sequence[float],
    *,
    alt: str,
    marks: Sequence[float | int] = (),
) -> Picture:
    """The loss of every step, its running mean, and dotted lines at the steps in `marks`."""
    with axes(size=(6.4, 3.4)) as (figure, ((panel,),)):
        values = np.asarray(loss, float)
        panel.plot(steps, values, color=PALE, linewidth=0.8, label="loss of a step")
        panel.plot(
            steps, smoothed(values), color=COLOURS[0], linewidth=2.0, label="running mean"
        )
        for mark in marks:
            panel.axvline(mark, color=COLOURS[6], linewidth=1, linestyle=":")
        panel.set(xlabel="step", ylabel="loss, log scale", yscale="log")
        panel.legend()
        return from_figure(figure, alt)


def saved_picture(path: str | Path, *, alt: str) -> Picture:
    """A picture from a PNG file, pixel by pixel."""
    with Image.open(path) as image:
        return from_image(image, alt)
