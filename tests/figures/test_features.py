import io

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from labml_sd.figures import Picture, Stage, feature_maps, map_and_sequence, unet_shape
from labml_sd.figures.features import LAYER_COLOURS

DARKEST, BRIGHTEST = (68, 1, 84), (253, 231, 36)  # viridis


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def count(shown: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((np.abs(shown - np.array(colour)).max(axis=-1) <= 2).sum())


def colour_of(layer: str) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in to_rgb(LAYER_COLOURS[layer]))


def test_each_position_is_a_square_on_the_channels_own_scale():
    features = torch.zeros(2, 2, 2)
    features[0, 0, 0], features[1, 1, 1] = 5.0, 0.01
    shown = pixels(feature_maps({"a": features}, cell=40, alt=""))
    assert count(shown, BRIGHTEST) == 2 * 20 * 20
    assert count(shown, DARKEST) == 2 * 3 * 20 * 20


def test_the_channels_of_greatest_variance_are_shown():
    features = torch.zeros(5, 2, 2)
    features[3, 0, 0] = 1.0
    shown = pixels(feature_maps({"a": features}, n_channels=1, cell=40, alt=""))
    assert count(shown, BRIGHTEST) == 20 * 20
    assert count(shown, DARKEST) == 3 * 20 * 20


def test_maps_of_all_sizes_are_drawn_equally_large_in_rows():
    stages = {"a": torch.rand(3, 8, 8), "b": torch.rand(3, 2, 2)}
    both, one = (
        pixels(feature_maps(stages, alt="")),
        pixels(feature_maps({"a": stages["a"]}, alt="")),
    )
    assert both.shape[0] - one.shape[0] == 72 + 4


def test_a_sequence_shows_its_tokens_from_left_to_right():
    tokens = torch.full((6, 3), -1.0)
    tokens[:2, 0] = 1.0  # two red tokens, then four black ones
    shown = pixels(map_and_sequence({"map": torch.ones(3, 2, 4)}, {"line": tokens}, alt=""))
    red = np.argwhere((shown == (255, 0, 0)).all(axis=-1))
    assert len(red) == 2 * 150 * 300  # 900 pixels for six tokens
    assert red[:, 1].min() == 10
    assert (shown[red[0, 0], 10 + 300 : 10 + 900] == 0).all()


def test_a_map_keeps_its_proportions():
    green = torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand(3, 2, 4)
    shown = pixels(map_and_sequence({"map": green}, {"line": torch.ones(2, 3)}, alt=""))
    where = np.argwhere((shown == (0, 255, 0)).all(axis=-1))
    height, width = where.max(axis=0) - where.min(axis=0) + 1
    assert (height, width) == (144, 288)


def stages(*layers: tuple[str, int]) -> list[Stage]:
    return [Stage((name,), (8, side, side)) for name, side in layers]


DOWN, UP = stages(("conv", 8), ("down", 4)), stages(("up", 8), ("ResBlock", 8))
MIDDLE = Stage(("transformer",), (8, 4, 4))


def test_layers_are_boxes_of_their_colour_down_and_up_again():
    shown = pixels(unet_shape(DOWN, MIDDLE, UP, alt=""))
    middles = {}
    for layer in ("conv", "down", "transformer", "up", "ResBlock"):
        where = np.argwhere(np.abs(shown - np.array(colour_of(layer))).max(axis=-1) <= 2)
        box = where[where[:, 0] < shown.shape[0] * 0.9]
        middles[layer] = np.median(box[:, 0]), np.median(box[:, 1])
    columns = [middles[layer][1] for layer in ("conv", "down", "transformer", "up", "ResBlock")]
    assert columns == sorted(columns)
    assert abs(middles["conv"][0] - middles["ResBlock"][0]) < 20  # the same level
    assert middles["down"][0] > middles["conv"][0] + 50  # one level below


def test_every_bridge_is_an_arrow():
    with_skips, without = (
        pixels(unet_shape(DOWN, MIDDLE, UP, alt="", skips=b)) for b in (True, False)
    )
    grey = (0x77, 0x77, 0x77)
    assert count(with_skips, grey) > count(without, grey) + 100


def test_a_layer_that_is_not_there_is_not_in_the_legend():
    plain = unet_shape(stages(("conv", 8)), MIDDLE, stages(("ResBlock", 8)), alt="")
    assert count(pixels(plain), colour_of("down")) == 0
