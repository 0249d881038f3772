import pytest
import torch

import labml_sd.sampler.loop as loop
from labml_sd.errors import GenerationError
from labml_sd.sampler import (
    CLEAN,
    DDIM,
    SAMPLERS,
    DPMpp2M,
    Moment,
    Prediction,
    ddim_step,
    from_eps,
    get_sampler,
    predict_x0,
    sample,
    tail,
)


class Heun:
    """A sampler with two evaluations a step, the second at the next level."""

    def levels(self, schedule, n_steps):
        return DDIM().levels(schedule, n_steps)

    def step(self, given):
        x, here, there = given.x, given.here, given.there
        now = given.evaluate(x, here)
        ahead = given.evaluate(ddim_step(now.x0, now.eps, there), there)
        eps = (now.eps + ahead.eps) / 2
        return ddim_step(predict_x0(x, eps, here), eps, there)


@pytest.fixture
def bars(monkeypatch):
    """Every progress bar of a run."""
    made = []

    class Bar(loop.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.closings = 0
            made.append(self)

        def close(self):
            self.closings = getattr(self, "closings", 0) + 1
            super().close()

    monkeypatch.setattr(loop, "tqdm", Bar)
    return made


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n_steps", [1, 2, 7, 30])
def test_a_run_takes_exactly_the_steps_asked_for_one_from_each_level(
    schedule, gaussian, randn, name, n_steps
):
    sampler, steps = get_sampler(name), []
    levels = sampler.levels(schedule, n_steps)
    sample(
        sampler,
        gaussian(0.5),
        randn(),
        levels,
        draw=randn,
        on_step=steps.append,
        progress=False,
    )
    assert [step.t for step in steps] == [level.t for level in levels[:-1]]
    assert len(steps) == n_steps


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_part_of_a_run_starts_at_its_own_first_level(schedule, gaussian, randn, name):
    sampler, denoise, steps = get_sampler(name), gaussian(0.5), []
    levels = tail(sampler.levels(schedule, 20), 0.3)
    sample(sampler, denoise, randn(), levels, draw=randn, on_step=steps.append, progress=False)
    assert [step.t for step in steps] == [level.t for level in levels[:-1]] and len(steps) == 6
    assert denoise.asked_at[0] == max(denoise.asked_at) == levels[0].t


def test_a_single_level_runs_no_step_and_returns_x(schedule, gaussian, randn, no_draw):
    x, denoise = randn(), gaussian(0.5)
    z = sample(DDIM(), denoise, x, [schedule.level(0)], draw=no_draw, progress=False)
    assert torch.equal(z, x) and denoise.asked_at == []


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_starting_latent_stays_as_it_was(schedule, gaussian, randn, name):
    x = randn()
    before = x.clone()
    sample(
        get_sampler(name),
        gaussian(2.0),
        x,
        get_sampler(name).levels(schedule, 5),
        draw=randn,
        progress=False,
    )
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_image_does_not_depend_on_its_neighbours(schedule, gaussian, randn, name):
    sampler, x, noises = get_sampler(name), randn(), [randn() for _ in range(10)]
    levels = sampler.levels(schedule, 5)

    def run(rows):
        stream = iter(noises)
        draw = lambda: next(stream)[rows]  # noqa: E731
        return sample(sampler, gaussian(2.0), x[rows], levels, draw=draw, progress=False)

    assert torch.equal(run(slice(0, 2))[1:2], run(slice(1, 2)))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("given", "state"),
    [
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_the_state_is_float32_or_better(schedule, gaussian, randn, name, given, state):
    sampler, denoise, seen = get_sampler(name), gaussian(2.0), set()

    def watched(x, moment):
        seen.add(x.dtype)
        return denoise(x, moment)

    x, levels = randn().to(given), sampler.levels(schedule, 3)
    z = sample(sampler, watched, x, levels, draw=lambda: randn().to(state), progress=False)
    assert z.dtype == state and seen == {state}


@pytest.mark.holds("fact: schedule")
@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_coefficients_are_not_rounded_on_the_way(
    schedule, gaussian, randn, no_draw, name
):
    sampler, x, noises = get_sampler(name), randn(), [randn() for _ in range(40)]
    levels = sampler.levels(schedule, 20)

    def run(dtype):
        stream = iter(noises)
        draw = lambda: next(stream).to(dtype)  # noqa: E731
        return sample(sampler, gaussian(0.5), x.to(dtype), levels, draw=draw, progress=False)

    torch.testing.assert_close(
        run(torch.float32).double(), run(torch.float64), rtol=1e-5, atol=1e-5
    )


def test_no_gradient_is_recorded(schedule, gaussian, randn):
    x = randn().requires_grad_()
    z = sample(DDIM(), gaussian(2.0), x, DDIM().levels(schedule, 2), draw=randn, progress=False)
    assert not z.requires_grad


def test_on_step_is_told_index_time_and_what_the_network_saw(
    schedule, gaussian, randn, no_draw
):
    x, denoise, steps = randn(), gaussian(2.0), []
    levels = DDIM().levels(schedule, 4)
    z = sample(DDIM(), denoise, x, levels, draw=no_draw, on_step=steps.append, progress=False)
    assert [(s.index, s.n_steps, s.t) for s in steps] == [(i, 4, levels[i].t) for i in range(4)]
    starts = [x, *(step.x for step in steps)]
    for start, step, level in zip(starts, steps, levels, strict=False):
        assert torch.equal(step.eps, denoise.eps(start, level))
        assert torch.equal(step.x0, predict_x0(start, step.eps, level))
    assert torch.equal(steps[-1].x, z)


def test_of_several_evaluations_the_first_is_told(schedule, gaussian, randn, no_draw):
    x, denoise, steps = randn(), gaussian(2.0), []
    levels = Heun().levels(schedule, 2)
    sample(Heun(), denoise, x, levels, draw=no_draw, on_step=steps.append, progress=False)
    assert len(denoise.asked_at) == 4 and len(steps) == 2
    assert torch.equal(steps[0].eps, denoise.eps(x, levels[0]))


def test_the_network_is_told_step_and_evaluation(schedule, gaussian, randn, no_draw):
    denoise, moments = gaussian(2.0), []

    def watched(x, moment):
        moments.append(moment)
        return denoise(x, moment)

    levels = Heun().levels(schedule, 2)
    sample(Heun(), watched, randn(), levels, draw=no_draw, progress=False)
    first, second, end = levels
    assert moments == [
        Moment(level=first, step=0, n_steps=2, evaluation=0),
        Moment(level=second, step=0, n_steps=2, evaluation=1),
        Moment(level=second, step=1, n_steps=2, evaluation=0),
        Moment(level=end, step=1, n_steps=2, evaluation=1),
    ]


def test_the_clean_latent_of_the_prediction_is_used_and_not_computed_again(schedule, randn):
    # A network may know x0 where it does not follow from eps: see zero terminal SNR below.
    given = Prediction(eps=randn(), x0=randn())
    (here, there), steps = DDIM().levels(schedule, 1), []
    z = sample(
        DDIM(),
        lambda x, moment: given,
        randn(),
        [here, there],
        draw=randn,
        on_step=steps.append,
        progress=False,
    )
    assert torch.equal(z, ddim_step(given.x0, given.eps, there))
    assert torch.equal(steps[0].x0, given.x0)


def test_frames_share_no_memory(schedule, gaussian, randn):
    steps = []
    levels = DPMpp2M().levels(schedule, 5)
    sample(
        DPMpp2M(),
        gaussian(2.0),
        randn(),
        levels,
        draw=randn,
        on_step=steps.append,
        progress=False,
    )
    places = [frame.data_ptr() for step in steps for frame in (step.x, step.x0, step.eps)]
    assert len(set(places)) == 15


def test_a_callback_that_writes_to_its_frames_does_not_change_the_run(
    schedule, gaussian, randn, no_draw
):
    def spoil(step):
        for frame in (step.x, step.x0, step.eps):
            frame.zero_()

    x, levels = randn(), DPMpp2M().levels(schedule, 5)
    runs = [
        sample(
            DPMpp2M(), gaussian(2.0), x, levels, draw=no_draw, on_step=on_step, progress=False
        )
        for on_step in (None, spoil)
    ]
    assert torch.equal(*runs)


def test_the_history_is_the_first_evaluations_of_the_last_three_steps(
    schedule, gaussian, randn
):
    lengths, times = [], []

    class Historian(Heun):
        def step(self, given):
            lengths.append(len(given.history))
            times.append([past.level.t for past in given.history])
            return super().step(given)

    levels = Historian().levels(schedule, 5)
    sample(Historian(), gaussian(2.0), randn(), levels, draw=randn, progress=False)
    assert lengths == [0, 1, 2, 3, 3]
    assert times[-1] == [level.t for level in levels[1:4]]


def test_blend_is_given_the_start_and_every_level_reached(schedule, gaussian, randn):
    given = []

    def blend(x, level):
        given.append(level)
        return x

    levels = DDIM().levels(schedule, 4)
    sample(DDIM(), gaussian(2.0), randn(), levels, draw=randn, blend=blend, progress=False)
    assert given == levels


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_on_step_raises_ends_the_run_and_closes_the_bar(
    schedule, gaussian, randn, bars, error
):
    denoise = gaussian(2.0)

    def stop(step):
        if step.index == 1:
            raise error("stop")

    with pytest.raises(error, match="stop"):
        sample(DDIM(), denoise, randn(), DDIM().levels(schedule, 9), draw=randn, on_step=stop)
    assert len(denoise.asked_at) == 2
    assert [(bar.closings > 0, bar.n) for bar in bars] == [(True, 2)]


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_is_closed_after_a_whole_run_and_silent_when_not_wanted(
    schedule, gaussian, randn, bars, capfd, progress
):
    sample(
        DDIM(),
        gaussian(2.0),
        randn(),
        DDIM().levels(schedule, 3),
        draw=randn,
        progress=progress,
    )
    assert [bar.closings > 0 for bar in bars] == [True]
    assert ("3/3" in capfd.readouterr().err) is progress


@pytest.mark.holds("fact: finite")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_reported_with_step_and_time(
    schedule, gaussian, randn, bars, value
):
    denoise = gaussian(2.0)

    def broken(x, moment):
        eps = denoise.eps(x, moment.level) + (value if moment.level.t == 599 else 0.0)
        return from_eps(x, eps, moment.level)

    with pytest.raises(
        GenerationError, match=r"the U-Net's eps holds .* step index 2 of 5 steps, t = 599"
    ):
        sample(DDIM(), broken, randn(), DDIM().levels(schedule, 5), draw=randn)
    assert bars[0].closings > 0


@pytest.mark.holds("fact: finite")
def test_a_state_that_is_not_finite_is_reported_with_step_and_time(schedule, gaussian, randn):
    def blend(x, level):
        return x * float("nan") if level.t == 599 else x

    with pytest.raises(
        GenerationError, match=r"the sampler's x holds .* step index 1 of 5 steps, t = 799"
    ):
        sample(
            DDIM(),
            gaussian(2.0),
            randn(),
            DDIM().levels(schedule, 5),
            draw=randn,
            blend=blend,
            progress=False,
        )


def test_a_start_that_is_not_finite_is_reported_as_such(schedule, gaussian, randn):
    x = randn() * float("inf")
    with pytest.raises(GenerationError, match="the starting x holds NaN or Inf"):
        sample(DDIM(), gaussian(2.0), x, DDIM().levels(schedule, 5), draw=randn, progress=False)


@pytest.mark.parametrize("name", SAMPLERS)
def test_off_the_cpu_no_value_is_read_before_the_end(schedule, gaussian, name):
    # Meta tensors have no values: reading one raises. Only the report after the last step may
    # try.
    sampler, done, x = get_sampler(name), [], torch.zeros(2, 4, 3, 5, device="meta")
    levels = sampler.levels(schedule, 6)
    blend = lambda x, level: x * 1  # noqa: E731
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        sample(
            sampler,
            gaussian(2.0),
            x,
            levels,
            draw=lambda: torch.zeros_like(x),
            blend=blend,
            on_step=done.append,
            progress=False,
        )
    assert len(done) == 6


@pytest.mark.gpu
@pytest.mark.parametrize("name", SAMPLERS)
def test_on_a_gpu_the_loop_never_waits(schedule, gaussian, name):
    from labml_sd.sampler import NoiseSource

    sampler, source = get_sampler(name), NoiseSource([0, 1], (4, 8, 8), device="cuda")
    x, levels, read_at = source.draw(), sampler.levels(schedule, 6), []
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):  # the report after the last step
            sample(
                sampler,
                gaussian(2.0),
                x,
                levels,
                draw=source.draw,
                on_step=read_at.append,
                progress=False,
            )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(read_at) == 6


def test_clean_ends_every_run_but_those_that_end_at_time_zero(schedule):
    ends = {name: get_sampler(name).levels(schedule, 20)[-1] for name in SAMPLERS}
    assert {name for name, end in ends.items() if end == schedule.level(0)} == {"ddim", "plms"}
    assert {name for name, end in ends.items() if end == CLEAN} == set(SAMPLERS) - {
        "ddim",
        "plms",
    }
