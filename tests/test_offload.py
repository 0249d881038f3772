"""Offloaded models, followed without a GPU: a copy of a weight stands for one on the device.

`pytest -m gpu tests/gpu/test_offload.py` runs them on a GPU.
"""

import copy
import json
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from ctrl_c import CtrlC
from PIL import Image
from torch import nn

from labml_sd import offload
from labml_sd.acceleration import accelerate
from labml_sd.acceleration.compiled import GraphedUNet, compile_unet
from labml_sd.checkpoint import load, load_model, save_model
from labml_sd.errors import GenerationError
from labml_sd.offload import Offloaded, on_device, waiting_place
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.sampler import SAMPLERS

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))
QUICK = {"steps": 3, "progress": False}
NETWORKS = ("text_encoder", "unet", "autoencoder")
TASKS = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """What is brought to the device is a copy; the list has the shapes of what was brought."""
    brought = []

    def copied(weight, device):
        brought.append(weight.shape)
        return weight.clone()

    monkeypatch.setattr(offload, "placed", copied)
    return brought


@pytest.fixture
def plain(make_model):
    return make_model()


@pytest.fixture
def offloaded(make_model):
    return Offloaded(make_model(), CPU)


@pytest.fixture
def task(photo):
    """A task with everything but the model given; it returns the bytes of its pictures."""

    def bound(name):
        mask = Image.new("L", (32, 32))
        mask.paste(255, (16, 0, 32, 32))
        inputs = {"txt2img": (), "img2img": (photo(32, 32),), "inpaint": (photo(32, 32), mask)}

        def run(model, **settings):
            images = TASKS[name](model, "a house", *inputs[name], **QUICK | settings)
            return [image.tobytes() for image in images]

        return run

    return bound


def places(model):
    """Where the numbers of each weight are."""
    return {name: weight.data_ptr() for name, weight in model.named_parameters()}


def on_the_device(model, waiting):
    """The networks whose weights are all away from the places where they wait."""
    now = places(model)
    return [
        part
        for part in NETWORKS
        if all(now[name] != waiting[name] for name in now if name.startswith(part))
    ]


@contextmanager
def watched(model):
    """(network that is called, networks on the device then), at every call."""
    waiting, seen = places(model), []
    inner = [
        ("text_encoder", model.text_encoder.transformer),
        ("unet", model.unet.time_embed),
        ("autoencoder", model.autoencoder.encoder.conv_in),
        ("autoencoder", model.autoencoder.decoder.conv_in),
    ]
    hooks = [
        module.register_forward_hook(
            lambda *_, part=part: seen.append((part, on_the_device(model, waiting)))
        )
        for part, module in inner
    ]
    yield seen
    for hook in hooks:
        hook.remove()
    assert places(model) == waiting


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_the_pictures_are_those_of_the_model_itself_bit_for_bit(
    plain, offloaded, task, name, fast
):
    plain.fast = offloaded.fast = fast
    run = task(name)
    assert run(offloaded, n_images=2) == run(plain, n_images=2)
    assert run(offloaded, n_images=2) == run(plain, n_images=2)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_so_they_are_with_every_sampler(plain, offloaded, task, sampler):
    run = partial(task("txt2img"), sampler=sampler)
    assert run(offloaded) == run(plain)


def test_a_network_runs_alone_on_the_device_and_the_unet_stays_there(offloaded, task, device):
    with watched(offloaded) as seen:
        task("img2img")(offloaded, steps=4, strength=1)
    assert all(alone == [part] for part, alone in seen)
    assert [part for part, _ in seen] == [
        *("autoencoder", "text_encoder", "text_encoder"),
        *["unet"] * 4,
        "autoencoder",
    ]
    n_weights = {
        part: len(list(offloaded.get_submodule(part).parameters())) for part in NETWORKS
    }
    assert len(device) == sum(n_weights.values()) + n_weights["autoencoder"]


def test_a_network_leaves_before_the_next_one_comes(offloaded, monkeypatch):
    events, real = [], offload.on_device

    @contextmanager
    def logged(network, device):
        events.append(("comes", type(network).__name__))
        with real(network, device):
            yield
        events.append(("left", type(network).__name__))

    monkeypatch.setattr(offload, "on_device", logged)
    txt2img(offloaded, "a house", **QUICK)
    order = ("CLIPTextEmbedder", "UNet", "Autoencoder")
    assert events == [(what, name) for name in order for what in ("comes", "left")]


def test_accelerated_layers_are_gone_before_the_weights_leave(offloaded, monkeypatch):
    offloaded.fast, trees, alive = True, [], []

    def accelerated(network):
        tree = accelerate(network)
        trees.append(weakref.ref(tree))
        return tree

    def forget(weights):
        alive.append([tree() for tree in trees if tree() is not None])

    monkeypatch.setattr(offload, "accelerate", accelerated)
    monkeypatch.setattr(offload, "forget_moved", forget)
    txt2img(offloaded, "a house", **QUICK)
    assert len(trees) == 3 and alive == [[], [], []]


def test_packed_weights_of_a_place_that_was_left_are_dropped(offloaded, monkeypatch):
    left = []
    monkeypatch.setattr(offload, "forget_moved", lambda weights: left.append(list(weights)))
    with on_device(offloaded.unet, CPU):
        assert left == []
    assert [list(map(id, left[0]))] == [[id(w) for w in offloaded.unet.parameters()]]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_all_weights_are_where_they_were(offloaded, plain, task, error):
    waiting, run = places(offloaded), task("txt2img")

    def on_step(step):
        assert on_the_device(offloaded, waiting) == ["unet"]
        raise error

    with pytest.raises(error):
        run(offloaded, on_step=on_step)
    assert places(offloaded) == waiting
    assert run(offloaded) == run(plain)


def test_a_network_that_does_not_fit_is_an_error_of_one_line_and_is_taken_off_again(
    offloaded, plain, task, monkeypatch
):
    waiting, placed, n = places(offloaded), offload.placed, []

    def small(weight, device):
        n.append(weight)
        if len(n) == 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return placed(weight, device)

    monkeypatch.setattr(offload, "placed", small)
    with pytest.raises(GenerationError, match="out of memory with 1 picture of 32x32"):
        txt2img(offloaded, "a house", **QUICK)
    assert places(offloaded) == waiting
    assert task("txt2img")(offloaded) == task("txt2img")(plain)


def test_ctrl_c_at_any_line_leaves_a_model_that_draws_the_same_picture(offloaded, plain, task):
    run = task("txt2img")
    wanted, draw = run(plain), partial(run, offloaded)
    lines = Random(0).sample(range(1, 500), 25)
    assert sum(CtrlC(n, file="labml_sd/offload.py").during(draw) for n in lines) > 20
    assert draw() == wanted


def test_threads_that_draw_with_one_model_take_turns(offloaded, plain, task):
    run = task("txt2img")
    with watched(offloaded) as seen, ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda seed: run(offloaded, seed=seed), range(8)))
    assert drawn == [run(plain, seed=seed) for seed in range(8)]
    assert len(seen) == 8 * 6 and all([part] == alone for part, alone in seen)


def test_on_step_may_use_the_model_and_even_draw_with_it(offloaded, plain, task):
    run, latents = task("txt2img"), []

    def on_step(step):
        latents.append(step.x0)
        previews.append(offloaded.decode_latent(step.x0))
        others.append(run(offloaded, seed=5))

    previews, others, waiting = [], [], places(offloaded)
    assert run(offloaded, on_step=on_step) == run(plain)
    for preview, x0 in zip(previews, latents, strict=True):
        assert torch.equal(preview, plain.decode_latent(x0))
    assert others == [run(plain, seed=5)] * 3
    assert places(offloaded) == waiting


@torch.no_grad()
def test_each_method_brings_its_network_and_gives_the_same_numbers(offloaded, plain, device):
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    t, c, image = (
        torch.tensor([7.0]),
        plain.encode_prompt(["a cat", ""]),
        x.new_ones(1, 3, 32, 32),
    )
    calls = {
        "text_encoder": lambda model: model.encode_prompt(["a cat", ""]),
        "unet": lambda model: model(x, t, c),
        "autoencoder": lambda model: model.decode_latent(x) + model.encode_image(image).mean(),
    }
    for part, call in calls.items():
        with watched(offloaded) as seen:
            assert torch.equal(call(offloaded), call(plain))
        assert {tuple(alone) for _, alone in seen} == {(part,)}


@torch.no_grad()
def test_in_a_run_of_ones_own_the_unet_is_brought_once(offloaded, plain, device):
    x, c = torch.ones(1, 4, 4, 4), plain.encode_prompt("a cat")
    with offloaded.run() as network:
        for t in (torch.tensor([900.0]), torch.tensor([7.0])):
            assert torch.equal(network(x, t, c), plain(x, t, c))
    assert len(device) == len(list(plain.unet.parameters()))


def test_hooks_see_each_call_once(offloaded, plain, task):
    run, seen = task("txt2img"), []
    for module in (offloaded, offloaded.unet, offloaded.unet.out):
        module.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    offloaded.fast = plain.fast = True
    run(offloaded)
    assert sorted(seen) == sorted(["Offloaded", "UNet", "Sequential"] * 3)


def test_an_edited_weight_and_a_replaced_network_show_in_the_next_picture(
    offloaded, plain, task, randomise
):
    run, other = task("txt2img"), copy.deepcopy(plain.autoencoder)
    before = run(offloaded)
    for model in (offloaded, plain):
        model.unet.out[2].weight.data.mul_(1.5)
    assert run(offloaded) == run(plain) != before
    other.decoder.conv_out.bias.data.add_(0.2)
    before = run(offloaded)
    offloaded.autoencoder = plain.autoencoder = other
    assert run(offloaded) == run(plain) != before


def test_layers_with_buffers_and_shared_weights_come_along(make_model, task, device):
    def changed(model):
        model.autoencoder.post_quant_conv = nn.Sequential(
            model.autoencoder.post_quant_conv, nn.BatchNorm2d(4).eval()
        )
        model.autoencoder.post_quant_conv.weight = model.autoencoder.post_quant_conv[0].weight
        return model

    run, model = task("txt2img"), changed(make_model())
    assert run(Offloaded(model, CPU)) == run(changed(make_model()))
    buffers = list(model.buffers())
    assert len(device) == len(list(model.parameters())) + len(buffers) and len(buffers) == 3


def test_in_inference_mode_the_weights_stay_ordinary_tensors(offloaded, plain, task):
    run = task("txt2img")
    with torch.inference_mode():
        drawn = run(offloaded)
    assert drawn == run(plain)
    assert not any(weight.is_inference() for weight in offloaded.parameters())


def test_under_autocast_the_pictures_are_the_same_too(offloaded, plain, task):
    with torch.autocast("cpu", torch.bfloat16):
        drawn = [task("img2img")(model) for model in (offloaded, plain)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("fast", [False, True])
def test_an_autoencoder_that_overflows_in_float16_is_run_in_float32(make_model, task, fast):
    models = [make_model().half(), Offloaded(make_model().half(), CPU)]
    drawn = []
    for model in models:
        model.fast = fast
        model.autoencoder.decoder.conv_in.weight.mul_(60_000)
        with pytest.warns(UserWarning, match="decode left the range of float16"):
            drawn.append(task("txt2img")(model))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_and_pickles_are_offloaded_too(offloaded, plain, task, copied):
    again = copied(offloaded)
    assert isinstance(again, Offloaded) and again.device == offloaded.device
    with ThreadPoolExecutor(2) as threads:
        drawn = list(threads.map(task("txt2img"), [offloaded, again]))
    assert drawn == [task("txt2img")(plain)] * 2


def test_a_copy_that_shares_its_weights_takes_turns_with_its_model(offloaded):
    assert copy.copy(offloaded).turns is offloaded.turns
    assert copy.deepcopy(offloaded).turns is not offloaded.turns


@pytest.mark.parametrize("layout", ["diffusers", "compvis"])
def test_it_is_saved_as_the_model_is_even_while_it_draws(offloaded, plain, tmp_path, layout):
    names = {"diffusers": ("a", "b", "c"), "compvis": tuple(f"{n}.safetensors" for n in "abc")}
    places = [tmp_path / name for name in names[layout]]
    save_model(plain, places[0], layout=layout)
    save_model(offloaded, places[1], layout=layout)
    txt2img(
        offloaded,
        "a house",
        on_step=lambda _: save_model(offloaded, places[2], layout=layout),
        **QUICK,
    )
    first, *others = [
        {
            path.relative_to(place): path.read_bytes()
            for path in ([place] if place.is_file() else place.rglob("*.*"))
        }
        for place in places
    ]
    assert all(files == first for files in others)


def test_it_may_be_moved_and_cast(offloaded, make_model, task):
    offloaded.to(CPU, torch.bfloat16)
    assert offloaded.dtype == torch.bfloat16
    assert task("txt2img")(offloaded) == task("txt2img")(make_model().bfloat16())


def test_a_compiled_unet_is_not_recorded_as_a_cuda_graph(offloaded, monkeypatch):
    compile_unet(offloaded.unet, "eager")
    monkeypatch.setattr(GraphedUNet, "fits", lambda plain: True)
    assert isinstance(accelerate(offloaded.unet), GraphedUNet)
    with offloaded.run(fast=True) as run:
        assert run._with("unet").unet is offloaded.unet
        assert run._with("autoencoder").autoencoder is not offloaded.autoencoder


@pytest.mark.slow
def test_a_compiled_unet_is_compiled_once_and_draws_the_same_picture():
    child = Path(__file__).with_name("offload_child.py")
    done = subprocess.run([sys.executable, str(child)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["same"]
    first, *later = answer["graphs"]
    assert first > 0 and later == [first, first]


# Loading


@pytest.fixture
def saved(plain, tmp_path):
    save_model(plain, tmp_path / "m")
    return tmp_path / "m"


def test_a_weight_keeps_its_numbers_and_gets_the_order_of_the_device(monkeypatch):
    monkeypatch.undo()
    weight = torch.rand(4, 3, 3, 3)
    assert offload.placed(weight, CPU) is weight
    on_meta = offload.placed(weight, torch.device("meta"))
    assert on_meta.is_meta and on_meta.is_contiguous()


@pytest.mark.parametrize("device, place", [(CPU, CPU), (MPS, MPS), (CUDA, CPU)])
def test_networks_wait_on_the_cpu_unless_the_device_shares_its_memory(device, place):
    assert waiting_place(device) == place


def test_on_a_cpu_offload_changes_nothing(saved):
    model = load_model(saved, device="cpu", offload=True)
    assert type(model) is type(load_model(saved, device="cpu"))


def test_for_a_gpu_the_weights_are_loaded_to_the_cpu(saved, plain, monkeypatch):
    monkeypatch.setattr(load, "pick_device", torch.device)
    model = load_model(saved, device="cuda", dtype="float16", fast=True, offload=True)
    assert isinstance(model, Offloaded) and model.fast and not model.training
    assert model.device == CUDA and model.dtype == torch.float16
    assert {weight.device for weight in model.parameters()} == {CPU}
    assert model.weights_hash == load_model(saved, device="cpu").weights_hash
    assert model.source == str(saved)
