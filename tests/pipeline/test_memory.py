import copy
import gc

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.common import decode, encode
from labml_sd.pipeline.memory import Parts, is_out_of_memory, memory_errors_explained

QUICK = {"steps": 2, "progress": False}
EVERYTHING = 2**60  # bytes: more than any machine has


def fail_on_the_cpu():
    torch.empty(EVERYTHING, dtype=torch.uint8)


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
def test_running_out_of_memory_is_known_wherever_it_happens(fail):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        fail()
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("Sizes of tensors must match"), ValueError("out of memory")]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


class Machine:
    """Doubles numbers, at most `room` at a time; remembers how many it was asked for."""

    def __init__(self, room):
        self.room = room
        self.asked = []
        self.x = torch.arange(7.0)

    def __call__(self, some):
        part = 2 * self.x[some]
        self.asked.append(len(part))
        if len(part) > self.room:
            fail_on_the_cpu()
        return part


def test_what_fits_runs_at_once():
    machine = Machine(room=7)
    assert torch.equal(Parts(7).run(machine), 2 * machine.x)
    assert machine.asked == [7]


@pytest.mark.filterwarnings("always:.*at a time")
@pytest.mark.parametrize("room, size", [(6, 4), (4, 4), (3, 2), (2, 2), (1, 1)])
def test_what_does_not_fit_is_halved_with_a_warning_until_it_does(room, size):
    machine, parts = Machine(room), Parts(7)
    with pytest.warns(UserWarning, match="7 pictures do not fit in memory at once") as caught:
        assert torch.equal(parts.run(machine), 2 * machine.x)
    assert parts.size == size and str(caught[-1].message).endswith(f": {size} at a time")


def test_the_size_that_fits_is_kept_for_the_calls_that_follow():
    machine, parts = Machine(room=4), Parts(7)
    with pytest.warns(UserWarning, match="at a time") as caught:
        parts.run(machine)
    parts.run(machine)
    assert machine.asked == [7, 4, 3, 4, 3] and len(caught) == 1


@pytest.mark.filterwarnings("ignore:.*at a time")
def test_a_single_picture_that_does_not_fit_is_an_error():
    with pytest.raises(RuntimeError, match="allocate memory"):
        Parts(2).run(Machine(room=0))


def test_any_other_error_passes():
    def call(some):
        raise RuntimeError("Sizes of tensors must match")

    with pytest.raises(RuntimeError, match="Sizes"):
        Parts(4).run(call)


class Held:
    """Stands for a large tensor."""


def held():
    return sum(type(o) is Held for o in gc.get_objects())


def test_what_the_failed_call_held_is_free_before_the_next():
    seen = []

    def call(some):
        seen.append(held())
        mine = Held()
        if some.stop - some.start > 1:
            fail_on_the_cpu()
        assert mine
        return torch.zeros(1)

    with pytest.warns(UserWarning, match="at a time"):
        Parts(2).run(call)
    assert seen == [0, 0, 0]


def test_whoever_keeps_the_error_does_not_keep_what_filled_the_memory():
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
    """A model whose networks have room for a few rows only: change `.room`."""
    model = make_model()

    def crowd(module, args):
        if len(args[0]) > model.room:
            fail_on_the_cpu()

    for network in (model.unet, model.autoencoder.decoder):
        network.register_forward_pre_hook(crowd)
    model.room = 100
    return model


def last_x(call):
    steps = []
    call(steps.append)
    return steps[-1].x


@pytest.mark.filterwarnings("ignore:.*at a time")
@pytest.mark.parametrize("room", [2, 4])
def test_pictures_that_do_not_fit_at_once_come_out_the_same(cramped, room):
    def call(on_step):
        return txt2img(cramped, ["a house", "a boat", "a cat"], on_step=on_step, **QUICK)

    whole = last_x(call)
    cramped.room = room
    torch.testing.assert_close(
        last_x(call), whole, rtol=0, atol=1e-5 * float(whole.abs().max())
    )
    assert len(call(None)) == 3


def test_a_run_in_parts_warns_once_for_every_halving(cramped):
    cramped.room = 2  # rows: one picture with its two prompts, or two pictures to decode
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
    cramped.room = 0
    with pytest.raises(
        GenerationError, match="out of memory with 1 picture of 48x32: draw smaller pictures"
    ):
        TASKS[task](cramped, photo)
    cramped.room = 100
    assert [image.tobytes() for image in TASKS[task](cramped, photo)] == before


# The range of float16


@pytest.fixture
def loud(make_model):
    """A float16 model whose decoder and encoder pass 65504, the largest number of that type."""
    model = make_model().half()
    for conv in (model.autoencoder.decoder.conv_in, model.autoencoder.encoder.conv_in):
        conv.weight.mul_(60_000)
    return model


@pytest.fixture
def z():
    return 3 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fast", [True, False])
def test_a_decoder_that_leaves_the_range_of_float16_is_run_in_float32_with_a_warning(
    loud, z, fast
):
    loud.fast = fast
    with pytest.warns(
        UserWarning, match="decode left the range of float16: done again in float32"
    ):
        images = decode(loud, z, 32, 32)
    wide = copy.deepcopy(loud).float()
    assert [i.tobytes() for i in images] == [i.tobytes() for i in decode(wide, z, 32, 32)]
    assert {p.dtype for p in loud.autoencoder.parameters()} == {torch.float16}


@pytest.mark.parametrize("fast", [True, False])
def test_an_encoder_that_leaves_the_range_of_float16_is_run_in_float32_with_a_warning(
    loud, photo, fast
):
    loud.fast = fast
    with pytest.warns(UserWarning, match="encode left the range of float16"):
        z = encode(loud, photo(32, 32), 1)
    assert torch.equal(z, encode(copy.deepcopy(loud).float(), photo(32, 32), 1))


@pytest.mark.parametrize("fast", [True, False])
def test_a_float16_model_that_stays_in_range_draws_without_a_warning(make_model, z, fast):
    model = make_model().half()
    model.fast = fast
    assert len(decode(model, z, 32, 32)) == 2


# NaN


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "name, message",
    [
        ("text_encoder.transformer.final_layer_norm.bias", "the text encoder gave NaN or Inf"),
        ("autoencoder.quant_conv.bias", 'stage "encode" gave NaN'),
        ("unet.out.2.bias", "the U-Net's eps holds NaN or Inf at step index 0"),
        ("autoencoder.post_quant_conv.bias", 'stage "decode" gave NaN'),
    ],
)
def test_damaged_weights_are_one_line_that_names_the_stage(
    make_model, photo, name, message, fast
):
    model = make_model()
    model.fast = fast
    model.get_parameter(name)[0] = float("nan")
    with pytest.raises(GenerationError, match=message) as error:
        img2img(model, "a house", photo(32, 32), **QUICK)
    assert "\n" not in str(error.value)


def test_damage_is_found_without_a_step_too(make_model, photo):
    model = make_model()
    model.autoencoder.quant_conv.bias[0] = float("nan")
    with pytest.raises(GenerationError, match='"encode"'):
        img2img(model, "a house", photo(32, 32), strength=0, **QUICK)
