import gc

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.memory import (
    BatchSplitter,
    is_out_of_memory,
    memory_errors_explained,
)

QUICK = {"steps": 2, "progress": False}
TOO_MUCH = 2**60  # bytes: more than any computer has


def fail_on_the_cpu():
    torch.empty(TOO_MUCH, dtype=torch.uint8)


def fail_on_cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def fail_in_a_library():
    raise RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    )


def fail_on_mps():
    raise RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")


def fail_in_python():
    raise MemoryError


@pytest.mark.parametrize(
    "fail", [fail_on_the_cpu, fail_on_cuda, fail_in_a_library, fail_on_mps, fail_in_python]
)
def test_running_out_of_memory_is_recognised_on_every_device(fail):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        fail()
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("Sizes of tensors must match"), ValueError("out of memory")]
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


class Doubling:
    """Doubles seven numbers, at most `limit` at a time, and records the sizes of its calls."""

    def __init__(self, limit):
        self.limit = limit
        self.sizes = []
        self.x = torch.arange(7.0)

    def __call__(self, some):
        part = 2 * self.x[some]
        self.sizes.append(len(part))
        if len(part) > self.limit:
            fail_on_the_cpu()
        return part


def test_what_fits_runs_at_once():
    double = Doubling(limit=7)
    assert torch.equal(BatchSplitter(7).run(double), 2 * double.x)
    assert double.sizes == [7]


def test_the_parts_follow_one_another_and_end_with_the_batch():
    splitter, parts = BatchSplitter(5), []
    splitter.size = 2
    splitter.run(lambda some: parts.append((some.start, some.stop)) or torch.zeros(1))
    assert parts == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.filterwarnings("always:.*at a time")
@pytest.mark.parametrize("limit, size", [(6, 4), (4, 4), (3, 2), (2, 2), (1, 1)])
def test_what_does_not_fit_is_halved_with_a_warning_until_it_does(limit, size):
    double, splitter = Doubling(limit), BatchSplitter(7)
    with pytest.warns(UserWarning, match="7 pictures do not fit in memory at once") as caught:
        assert torch.equal(splitter.run(double), 2 * double.x)
    assert splitter.size == size and str(caught[-1].message).endswith(f": {size} at a time")


def test_the_size_that_fits_is_kept_for_the_calls_that_follow():
    double, splitter = Doubling(limit=4), BatchSplitter(7)
    with pytest.warns(UserWarning, match="at a time") as caught:
        splitter.run(double)
    splitter.run(double)
    assert double.sizes == [7, 4, 3, 4, 3] and len(caught) == 1


@pytest.mark.filterwarnings("ignore:.*at a time")
def test_a_single_picture_that_does_not_fit_is_an_error():
    with pytest.raises(RuntimeError, match="allocate memory"):
        BatchSplitter(2).run(Doubling(limit=0))


def test_any_other_error_passes():
    def call(some):
        raise RuntimeError("Sizes of tensors must match")

    with pytest.raises(RuntimeError, match="Sizes"):
        BatchSplitter(4).run(call)


class Held:
    """Stands for a large tensor."""


def held():
    return sum(type(o) is Held for o in gc.get_objects())


def test_tensors_of_the_failed_call_are_freed_before_the_next():
    seen = []

    def call(some):
        seen.append(held())
        mine = Held()
        if some.stop - some.start > 1:
            fail_on_the_cpu()
        assert mine
        return torch.zeros(1)

    with pytest.warns(UserWarning, match="at a time"):
        BatchSplitter(2).run(call)
    assert seen == [0, 0, 0]


def test_the_error_does_not_keep_the_tensors_that_filled_the_memory():
    def draw():
        mine = Held()
        fail_on_the_cpu()
        assert mine

    with pytest.raises(GenerationError) as error, memory_errors_explained(1, 64, 64):
        draw()
    assert held() == 0 and error.value.__suppress_context__


def test_the_error_is_one_line_that_says_what_was_asked_and_what_to_try():
    with (
        pytest.raises(
            GenerationError, match="out of memory with 2 pictures of 640x512: draw smaller"
        ) as error,
        memory_errors_explained(2, 640, 512),
    ):
        fail_on_the_cpu()
    assert "\n" not in str(error.value)


def test_other_errors_are_not_explained_as_memory():
    with pytest.raises(ValueError, match="other"), memory_errors_explained(1, 64, 64):
        raise ValueError("other")


@pytest.fixture
def cramped(make_model, monkeypatch):
    """A model whose U-Net and decoder run `.limit` rows at most: prompts, or latents."""
    model = make_model()

    def check(module, args):
        if max(len(each) for each in args if isinstance(each, torch.Tensor)) > model.limit:
            fail_on_the_cpu()

    for network in (model.unet, model.autoencoder.decoder):
        network.register_forward_pre_hook(check)
    model.limit = 100
    return model


def last_x(call):
    steps = []
    call(steps.append)
    return steps[-1].x


@pytest.mark.filterwarnings("ignore:.*at a time")
@pytest.mark.parametrize("limit", [2, 4])
def test_pictures_that_do_not_fit_at_once_are_the_same(cramped, limit):
    def call(on_step):
        return txt2img(cramped, ["a house", "a boat", "a cat"], on_step=on_step, **QUICK)

    whole = last_x(call)
    cramped.limit = limit
    torch.testing.assert_close(
        last_x(call), whole, rtol=0, atol=1e-5 * float(whole.abs().max())
    )
    assert len(call(None)) == 3


def test_a_run_in_parts_warns_once_for_every_halving(cramped):
    cramped.limit = 2  # one picture with its two prompts, or two pictures to decode
    with pytest.warns(UserWarning, match="at a time") as caught:
        txt2img(cramped, "a house", n_images=3, steps=4, progress=False)
    sizes = [str(w.message).split(": ")[1] for w in caught]
    assert sizes == ["2 at a time", "1 at a time", "2 at a time"]


TASKS = {
    "txt2img": lambda model, photo: txt2img(model, "a house", width=48, **QUICK),
    "img2img": lambda model, photo: img2img(model, "a house", photo(48, 32), **QUICK),
    "inpaint": lambda model, photo: inpaint(
        model, "a house", photo(48, 32), photo(48, 32), **QUICK
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_that_does_not_fit_is_one_line_and_the_next_one_is_drawn(
    cramped, photo, task
):
    before = [image.tobytes() for image in TASKS[task](cramped, photo)]
    cramped.limit = 0
    with pytest.raises(
        GenerationError, match="out of memory with 1 picture of 48x32: draw smaller pictures"
    ):
        TASKS[task](cramped, photo)
    cramped.limit = 100
    assert [image.tobytes() for image in TASKS[task](cramped, photo)] == before
