import numpy as np
import torch
from matplotlib.text import Annotation
from pictures import pixels, where

from labml_sd.figures import Stage, feature_maps, map_and_sequence, unet_shape
from labml_sd.figures import features as module
from labml_sd.figures.features import LAYER_COLOURS

DARKEST, BRIGHTEST = (68, 1, 84), (253, 231, 36)  # viridis


def test_each_position_is_a_square_on_the_channels_own_scale():
    features = torch.zeros(2, 2, 2)
    features[0, 0, 0], features[1, 1, 1] = 5.0, 0.01
    shown = pixels(feature_maps({"a": features}))
    assert len(where(shown, BRIGHTEST)) == 2 * 36 * 36
    assert len(where(shown, DARKEST)) == 2 * 3 * 36 * 36


def test_the_channels_of_greatest_variance_are_shown(monkeypatch):
    monkeypatch.setattr(module, "N_CHANNELS", 1)
    features = torch.zeros(5, 2, 2)
    features[3, 0, 0] = 1.0
    shown = pixels(feature_maps({"a": features}))
    assert len(where(shown, BRIGHTEST)) == 36 * 36
    assert len(where(shown, DARKEST)) == 3 * 36 * 36


def test_maps_of_all_sizes_are_drawn_equally_large_in_rows():
    stages = {"a": torch.rand(3, 8, 8), "b": torch.rand(3, 2, 2)}
    both, one = (
        pixels(feature_maps(stages)),
        pixels(feature_maps({"a": stages["a"]})),
    )
    assert both.shape[0] - one.shape[0] == 72 + 4


def test_a_sequence_shows_its_tokens_from_left_to_right():
    tokens = torch.full((6, 3), -1.0)
    tokens[:2, 0] = 1.0  # two red tokens, then four black ones
    shown = pixels(map_and_sequence({"map": torch.ones(3, 2, 4)}, {"line": tokens}))
    red = where(shown, (255, 0, 0), near=0)
    assert len(red) == 2 * 150 * 300  # 900 pixels for six tokens
    assert red[:, 1].min() == 10
    assert (shown[red[0, 0], 10 + 300 : 10 + 900] == 0).all()


def test_a_map_keeps_its_proportions():
    green = torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand(3, 2, 4)
    shown = pixels(map_and_sequence({"map": green}, {"line": torch.ones(2, 3)}))
    filled = where(shown, (0, 255, 0), near=0)
    height, width = filled.max(axis=0) - filled.min(axis=0) + 1
    assert (height, width) == (144, 288)


def stages(*layers: tuple[str, int]) -> list[Stage]:
    return [Stage((name,), (8, side, side)) for name, side in layers]


DOWN, UP = stages(("conv", 8), ("down", 4)), stages(("up", 8), ("ResBlock", 8))
MIDDLE = Stage(("transformer",), (8, 4, 4))


def test_layers_are_boxes_of_their_colour_down_and_up_again():
    shown = pixels(unet_shape(DOWN, MIDDLE, UP))
    middles = {}
    for layer in ("conv", "down", "transformer", "up", "ResBlock"):
        box = where(shown, LAYER_COLOURS[layer])
        box = box[box[:, 0] < shown.shape[0] * 0.9]
        middles[layer] = np.median(box[:, 0]), np.median(box[:, 1])
    columns = [middles[layer][1] for layer in ("conv", "down", "transformer", "up", "ResBlock")]
    assert columns == sorted(columns)
    assert abs(middles["conv"][0] - middles["ResBlock"][0]) < 20  # the same level
    assert middles["down"][0] > middles["conv"][0] + 50  # one level below


def test_every_skip_connection_is_an_arrow(drawn):
    unet_shape(DOWN, MIDDLE, UP)
    (panel,) = drawn[0].axes
    notes = [text for text in panel.texts if isinstance(text, Annotation)]
    arrows = [(note.xyann[0], note.xy[0]) for note in notes]
    assert arrows == [(0, 4), (1, 3)]


def test_a_layer_that_is_not_there_is_not_in_the_legend():
    plain = unet_shape(stages(("conv", 8)), MIDDLE, stages(("ResBlock", 8)))
    assert len(where(pixels(plain), LAYER_COLOURS["down"])) == 0
