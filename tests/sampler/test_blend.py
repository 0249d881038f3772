import pytest
import torch

from labml_sd.sampler import CLEAN, SAMPLERS, add_noise, get_sampler, inpaint_blend, sample


@pytest.fixture
def mask():
    """Repaint the left, keep the right."""
    mask = torch.zeros(2, 1, 3, 5, dtype=torch.float64)
    mask[..., :2] = 1
    return mask


def test_the_painted_area_is_untouched_and_the_kept_area_is_at_the_level(schedule, randn, mask):
    x, z, noise, level = randn(), randn(), randn(), schedule.level(700)
    blended = inpaint_blend(z, noise, mask)(x, level)
    assert torch.equal(blended[..., :2], x[..., :2])
    assert torch.equal(blended[..., 2:], add_noise(z, noise, level)[..., 2:])


def test_at_clean_the_kept_area_is_the_picture_to_the_bit(randn, mask):
    x, z = randn(), randn()
    assert torch.equal(inpaint_blend(z, randn(), mask)(x, CLEAN)[..., 2:], z[..., 2:])


def test_one_mask_serves_all_images(randn, mask):
    x, z, noise = randn(), randn(), randn()
    one, each = (inpaint_blend(z, noise, m)(x, CLEAN) for m in (mask[:1], mask))
    assert torch.equal(one, each)


@pytest.mark.holds("labml_sd.sampler.blend.inpaint_blend")
def test_grey_mixes_by_the_equation(schedule, randn):
    x, z, noise, mask, level = (
        randn(),
        randn(),
        randn(),
        randn()[:, :1].sigmoid(),
        schedule.level(700),
    )
    kept = level.alpha_bar**0.5 * z + (1 - level.alpha_bar) ** 0.5 * noise
    blended = inpaint_blend(z, noise, mask)(x, level)
    torch.testing.assert_close(blended, mask * x + (1 - mask) * kept, rtol=1e-13, atol=1e-13)


def test_inputs_stay_as_they_were(schedule, randn, mask):
    given = [randn(), randn(), randn(), mask]
    before = [tensor.clone() for tensor in given]
    inpaint_blend(*given[1:])(given[0], schedule.level(5))
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))


@pytest.mark.holds("fact: inpaint-level")
@pytest.mark.parametrize("name", SAMPLERS)
def test_after_every_step_the_kept_area_is_at_exactly_the_level_reached(
    schedule, gaussian, randn, mask, name
):
    sampler, z, noise = get_sampler(name), randn(), randn()
    levels = sampler.levels(schedule, 6)
    steps = []
    blend = inpaint_blend(z, noise, mask)
    sample(
        sampler,
        gaussian(0.5),
        randn(),
        levels,
        draw=randn,
        blend=blend,
        on_step=steps.append,
        progress=False,
    )
    for step, there in zip(steps, levels[1:], strict=True):
        assert torch.equal(step.x[..., 2:], add_noise(z, noise, there)[..., 2:])


def test_the_network_never_sees_a_kept_area_off_its_level(schedule, gaussian, randn, mask):
    sampler, z, noise, denoise = get_sampler("ddim"), randn(), randn(), gaussian(0.5)
    seen = []

    def watched(x, moment):
        seen.append(torch.equal(x[..., 2:], add_noise(z, noise, moment.level)[..., 2:]))
        return denoise(x, moment)

    levels = sampler.levels(schedule, 6)
    sample(
        sampler,
        watched,
        randn(),
        levels,
        draw=randn,
        blend=inpaint_blend(z, noise, mask),
        progress=False,
    )
    assert seen == [True] * 6
