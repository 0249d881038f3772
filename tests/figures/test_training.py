import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from labml_sd.figures import learning_curve, saved_picture
from labml_sd.training.curve import smoothed


@pytest.fixture
def plotted(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The y of every line that is drawn."""
    lines: list[np.ndarray] = []
    plot = Axes.plot

    def spy(self, x, y, *args, **options):
        lines.append(np.asarray(y, float))
        return plot(self, x, y, *args, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def test_a_learning_curve_shows_the_losses_and_their_running_mean(plotted):
    loss = [1.0, 0.5, 0.7, 0.2, 0.1, 0.3]
    learning_curve(range(6), loss, alt="")
    assert plotted[0].tolist() == loss
    assert np.allclose(plotted[1], smoothed(np.array(loss)))


def test_marks_are_drawn():
    plain = learning_curve([1, 2, 3], [1.0, 0.5, 0.2], alt="")
    assert learning_curve([1, 2, 3], [1.0, 0.5, 0.2], marks=[2], alt="").png != plain.png


def test_a_kept_picture_is_shown_to_the_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "kept.png")
    picture = saved_picture(tmp_path / "kept.png", alt="noise")
    assert picture.alt == "noise"
    assert (np.asarray(Image.open(io.BytesIO(picture.png))) == pixels).all()
