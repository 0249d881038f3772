import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.pipeline import Conditioning
from labml_sd.pipeline.control import Window
from labml_sd.sampler import Level, Moment
from labml_sd.unet.residuals import NO_RESIDUALS

MOMENT = Moment(level=Level(t=500.0, alpha_bar=0.3))


class Style:
    """A control that appends tokens to the prompt, from a step on."""

    def __init__(self, tokens, first=0, parts=()):
        self.own, self.first, self.parts = tokens, first, parts

    def active(self, moment):
        return moment.step >= self.first

    def tokens(self):
        return self.own

    def residuals(self, x, t, cond):
        return NO_RESIDUALS

    def rows(self, some):
        tokens = None if self.own is None else self.own[some]
        return Style(tokens, self.first, (*self.parts, some))

    def crop(self, window):
        return Style(self.own, self.first, (*self.parts, window))


@pytest.fixture
def cond():
    return torch.arange(3 * 4 * 2.0).reshape(3, 4, 2)


@pytest.fixture
def uncond():
    return -torch.arange(4 * 2.0).reshape(1, 4, 2)


def test_alone_the_tokens_are_the_prompts_and_guided_the_negative_prompts_come_first(
    cond, uncond
):
    conditioning = Conditioning(cond, uncond)
    assert conditioning.tokens(MOMENT, guided=False) is cond
    both = conditioning.tokens(MOMENT, guided=True)
    assert torch.equal(both, torch.cat([uncond, uncond, uncond, cond]))
    assert conditioning.tokens(MOMENT, guided=True) is both


def test_a_negative_prompt_for_another_number_of_images_is_refused(cond, uncond):
    with pytest.raises(
        GenerationError, match=r"embedding is \[2, 4, 2\]; give the prompt's shape \[3, 4, 2\]"
    ):
        Conditioning(cond, uncond.expand(2, 4, 2))


def test_tokens_of_an_active_control_are_appended_and_the_negative_prompt_is_padded(
    cond, uncond
):
    style = torch.full((3, 2, 2), 7.0)
    conditioning = Conditioning(cond, uncond, controls=[Style(style, first=1), Style(None)])
    late = Moment(level=MOMENT.level, step=1, n_steps=2)
    assert conditioning.tokens(MOMENT, guided=False) is cond
    alone, both = (conditioning.tokens(late, guided) for guided in (False, True))
    assert torch.equal(alone, torch.cat([cond, style], dim=1))
    padded = torch.cat([uncond, uncond[:, -2:]], dim=1).expand(3, 6, 2)
    assert torch.equal(both, torch.cat([padded, alone]))
    assert conditioning.tokens(late, guided=True) is both
    assert conditioning.tokens(late, guided=False) is alone


@pytest.mark.parametrize("one_for_all", [True, False])
def test_rows_are_those_of_some_images(cond, uncond, one_for_all):
    channels, control = torch.rand(3, 5, 2, 2), Style(torch.rand(3, 1, 2))
    uncond = uncond if one_for_all else uncond + torch.arange(3.0)[:, None, None]
    whole = Conditioning(cond, uncond, channels, [control])
    some = whole.rows(slice(1, 3))
    assert len(some) == 2 and torch.equal(some.cond, cond[1:])
    assert torch.equal(some.uncond.expand_as(some.cond), uncond.expand_as(cond)[1:])
    assert torch.equal(some.channels, channels[1:])
    assert some.controls[0].parts == (slice(1, 3),)
    tokens = whole.tokens(MOMENT, guided=True).chunk(2)
    expected = torch.cat([half[1:] for half in tokens])
    assert torch.equal(some.tokens(MOMENT, guided=True), expected)


def test_all_rows_are_the_whole_and_the_same_slice_is_the_same_object(cond, uncond):
    whole = Conditioning(cond, uncond)
    assert whole.rows(slice(0, 3)) is whole
    assert whole.rows(slice(0, 2)) is whole.rows(slice(0, 2)) is not whole.rows(slice(1, 3))


def test_a_crop_has_its_part_of_the_channels_and_the_same_tokens(cond, uncond):
    channels = torch.arange(3 * 5 * 6 * 8.0).reshape(3, 5, 6, 8)
    window = Window(rows=slice(1, 4), columns=slice(2, 8))
    whole = Conditioning(cond, uncond, channels, [Style(torch.rand(3, 1, 2))])
    both = whole.tokens(MOMENT, guided=True)
    part = whole.crop(window)
    assert torch.equal(part.channels, channels[..., 1:4, 2:8])
    assert part.controls[0].parts == (window,)
    assert part.tokens(MOMENT, guided=True) is both and whole.crop(window) is part


def test_the_same_conditioning_holds_at_every_moment(cond):
    conditioning = Conditioning(cond)
    assert conditioning.at(MOMENT) is conditioning
