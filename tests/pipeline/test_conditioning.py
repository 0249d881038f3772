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


WEIGHTS = torch.tensor([[0.7, 1.0], [1.2, 0.0]])  # [k b]: two prompts, and one


@pytest.mark.holds("labml_sd.pipeline.conditioning.Conditioning.combined")
def test_several_prompts_of_an_image_are_combined_as_the_equation_says():
    draw = torch.Generator().manual_seed(0)
    given = Conditioning(torch.zeros(4, 3, 2), weights=WEIGHTS)
    eps = torch.randn(4, 1, 2, 2, generator=draw)
    uncond = torch.randn(2, 1, 2, 2, generator=draw)
    first = uncond[0] + 0.7 * (eps[0] - uncond[0]) + 1.2 * (eps[2] - uncond[0])
    torch.testing.assert_close(given.combined(eps, uncond), torch.stack([first, eps[1]]))


def test_where_weights_add_up_to_1_uncond_has_no_effect():
    weights = torch.tensor([[0.25, 1.0], [0.75, 0.0]])
    given = Conditioning(torch.zeros(4, 3, 2), weights=weights)
    assert (
        not given.needs_uncond
        and Conditioning(torch.zeros(4, 3, 2), weights=WEIGHTS).needs_uncond
    )
    draw = torch.Generator().manual_seed(0)
    eps, uncond = (torch.randn(n, 1, 2, 2, generator=draw) for n in (4, 2))
    torch.testing.assert_close(given.combined(eps), given.combined(eps, uncond))


def test_without_weights_a_prediction_is_that_of_its_prompt(cond):
    eps = torch.ones(3, 1, 2, 2)
    assert Conditioning(cond).combined(eps) is eps


def test_rows_and_tokens_of_several_prompts_belong_to_their_images(uncond):
    cond = torch.arange(4 * 4 * 2.0).reshape(4, 4, 2)
    style = Style(torch.ones(2, 1, 2) * torch.tensor([5.0, 6.0])[:, None, None])
    given = Conditioning(cond, uncond, controls=[style], weights=WEIGHTS)
    assert len(given) == 2
    tokens = given.tokens(MOMENT, guided=True)  # uncond of 2 images, then 2 prompts of each
    assert tokens.shape == (6, 5, 2)
    assert tokens[2:, -1, 0].tolist() == [5.0, 6.0, 5.0, 6.0]
    second = given.rows(slice(1, 2))
    assert torch.equal(second.cond, cond[[1, 3]]) and second.weights.tolist() == [[1.0], [0.0]]


def test_as_many_weights_as_prompts_are_needed():
    with pytest.raises(GenerationError, match="give one weight for each"):
        Conditioning(torch.zeros(3, 3, 2), weights=WEIGHTS)
