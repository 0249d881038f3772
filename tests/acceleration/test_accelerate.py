"""A whole model, accelerated, against the plain one, whatever is done to the model."""

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.modules import module as torch_module

from labml_sd.acceleration import accelerate, copies
from labml_sd.acceleration.accelerate import PACKED
from labml_sd.acceleration.packed import Packed
from labml_sd.checkpoint import load_model
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.unet import attention, record_attention
from labml_sd.unet.attention import CrossAttention
from labml_sd.unet.blocks import ResBlock

QUICK = {"steps": 3, "progress": False}
T = torch.tensor([500.0])


@pytest.fixture
def model(make_model):
    """A model of the test's own, whose pictures are drawn with acceleration."""
    model = make_model()
    model.fast = True
    return model


def answers(network, randn):
    """What all three networks compute, in float64."""
    number = network.dtype
    x, c = randn(2, 4, 4, 6).to(number), randn(4, 77, 16, seed=1).to(number)
    return [
        network(x, T, c).double(),
        network.decode_latent(randn(1, 4, 4, 4)).double(),
        network.encode_image(randn(1, 3, 32, 32)).double(),
        network.encode_prompt(["a red house", ""]).double(),
    ]


def packed_names(model):
    """Names of the layers that are exchanged."""
    return [name for name, m in accelerate(model).named_modules() if isinstance(m, Packed)]


def all_equal(some, others, share, assert_close):
    for found, wanted in zip(some, others, strict=True):
        assert_close(found, wanted, share)


def test_every_known_layer_is_exchanged_and_nothing_else(model):
    expected = [
        name
        for name, module in model.named_modules()
        if type(module) in PACKED and not inside_a_packed_one(model, name)
    ]
    assert packed_names(model) == expected and len(expected) > 10


def inside_a_packed_one(model, name):
    parents = name.split(".")
    above = (".".join(parents[:i]) for i in range(1, len(parents)))
    return any(type(model.get_submodule(parent)) in PACKED for parent in above)


def test_the_tree_is_of_the_same_classes_over_the_same_parameters(model):
    network = accelerate(model)
    assert type(network) is LatentDiffusion and network is not model
    assert list(network.state_dict()) == list(model.state_dict())
    assert all(a is b for a, b in zip(network.parameters(), model.parameters(), strict=True))
    for name, module in network.named_modules():
        assert isinstance(module, type(model.get_submodule(name)))


def test_the_model_is_left_as_it_was(model):
    before = [(name, module, dict(vars(module))) for name, module in model.named_modules()]
    accelerate(model)
    after = [(name, module, dict(vars(module))) for name, module in model.named_modules()]
    for (name, module, had), (name_now, module_now, has) in zip(before, after, strict=True):
        assert (name, module) == (name_now, module_now)
        assert had.keys() == has.keys() and all(had[key] is has[key] for key in had)


def test_a_network_without_known_layers_is_itself():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert accelerate(network) is network


def test_a_module_that_is_used_twice_is_exchanged_once(randomise, randn):
    block = randomise(ResBlock(4, 4, 6, norm_groups=2).double())
    network = accelerate(nn.ModuleList([block, nn.ModuleList([block])]))
    assert network[0] is network[1][0] and isinstance(network[0], Packed)


def test_an_accelerated_network_accelerated_is_itself(model):
    network = accelerate(model)
    assert accelerate(network) is network


@pytest.mark.parametrize("dtype, share", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_all_networks_compute_the_same(model, randn, assert_close, dtype, share):
    model.to(dtype)
    all_equal(answers(accelerate(model), randn), answers(model, randn), share, assert_close)


def test_an_encoded_picture_can_be_drawn_from_its_posterior(model, randn, assert_close):
    image, network = randn(1, 3, 32, 32).float(), accelerate(model)
    found, wanted = (
        m.encode_image(image, torch.Generator().manual_seed(3)) for m in (network, model)
    )
    assert_close(found, wanted, 1e-5)


# Weights are compared with what they were


def in_place(model):
    model.unet.middle_block[0].in_layers[2].weight.mul_(2)
    model.autoencoder.decoder.conv_in.weight.mul_(2)
    model.autoencoder.encoder.conv_in.weight.mul_(2)
    model.text_encoder.transformer.encoder.layers[0].mlp.fc1.weight.mul_(2)


def matrices(model):
    return [weight for weight in model.parameters() if weight.dim() > 1]


def through_data(model):
    for weight in matrices(model):
        weight.data.mul_(0.9)


def single_rows(model):
    for weight in matrices(model):
        weight.data[len(weight) // 2] = 0


def two_rows_swapped(model):
    for weight in matrices(model):
        weight.data[[0, 1]] = weight.data[[1, 0]]


def through_numpy(model):
    for weight in matrices(model):
        array = weight.numpy()
        array[len(array) // 2] *= -1


def new_data(model):
    for weight in matrices(model):
        weight.data = weight.data * 0.9


def new_parameters(model):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight = nn.Parameter(module.weight * 0.9, requires_grad=False)


def assigned(model):
    state = {name: value * 0.9 for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)


def copied(model):
    model.load_state_dict({name: value * 0.9 for name, value in model.state_dict().items()})


def in_inference_mode(model):
    """PyTorch does not count the changes of tensors that were made in inference mode."""
    with torch.inference_mode():
        for weight in matrices(model):
            weight.data = weight.data * 1.0
    for weight in matrices(model):
        with torch.inference_mode():
            weight.data[len(weight) // 2] = 0


def an_optimizer_step(model):
    for weight in matrices(model):
        weight.grad = torch.sign(weight)
    torch.optim.SGD(matrices(model), lr=0.05).step()


def another_type(model):
    model.to(torch.float64)


CHANGES = [
    *(in_place, through_data, single_rows, two_rows_swapped, through_numpy, new_data),
    *(new_parameters, assigned, copied, in_inference_mode, an_optimizer_step, another_type),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_weights_are_noticed_at_the_next_call(model, randn, assert_close, change):
    before = answers(accelerate(model), randn)
    change(model)
    wanted = answers(model, randn)
    is_same = change is another_type
    all_equal(
        answers(accelerate(model), randn), wanted, 1e-12 if is_same else 1e-4, assert_close
    )
    for old, new in zip(before, wanted, strict=True):
        assert is_same or float((old - new).abs().max()) > 1e-3 * float(new.abs().max())


def test_copies_made_in_inference_mode_are_used_outside_and_the_other_way_round(
    model, randn, assert_close
):
    wanted = answers(model, randn)
    for first, second in ((True, False), (False, True)):
        copies._copies.clear()
        for mode in (first, second):
            with torch.inference_mode(mode):
                all_equal(answers(accelerate(model), randn), wanted, 1e-5, assert_close)


def test_a_deep_copy_has_weights_of_its_own(model, randn, assert_close):
    before = answers(accelerate(model), randn)
    other = copy.deepcopy(model)
    in_place(other)
    all_equal(answers(accelerate(model), randn), before, 1e-6, assert_close)
    all_equal(answers(accelerate(other), randn), answers(other, randn), 1e-4, assert_close)


def test_a_model_that_is_not_used_any_more_is_let_go(make_model, randn):
    model = make_model()
    answers(accelerate(model), randn)
    gone = [
        weakref.ref(part) for part in (model, model.unet, model.autoencoder, model.text_encoder)
    ]
    gone.append(weakref.ref(model.unet.out[2].weight))
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5


# What is built into a model is respected, block by block


def hook_inside(unet):
    unet.middle_block[1].transformer_blocks[0].attn2.register_forward_hook(
        lambda module, args, out: 2 * out
    )


def own_forward_of_a_block(unet):
    block = unet.middle_block[0]
    block.forward = lambda x, t_emb: 2 * ResBlock.forward(block, x, t_emb)


def own_forward_inside_a_block(unet):
    unet.middle_block[0].out_layers[3].forward = lambda x: 2 * x


class LoudBlock(ResBlock):
    def forward(self, x, t_emb):
        return 2 * super().forward(x, t_emb)


def a_subclass(unet):
    unet.middle_block[0].__class__ = LoudBlock


def a_layer_inside_replaced(unet):
    unet.middle_block[0].in_layers[1] = nn.Tanh()


def another_kind_of_attention(unet):
    unet.middle_block[1].transformer_blocks[0].attn1.kind = "normal"


def wrap_around(unet):
    unet.out[2].padding_mode = "circular"


BUILT_IN = {
    own_forward_of_a_block: ["middle_block.0"],
    own_forward_inside_a_block: ["middle_block.0"],
    a_subclass: ["middle_block.0"],
    a_layer_inside_replaced: ["middle_block.0"],
    another_kind_of_attention: ["middle_block.1"],
    wrap_around: ["out.2"],
}


def predict(network, randn):
    x, c = randn(2, 4, 4, 6), randn(4, 5, 16, seed=1)
    return network(x, T, c)


@pytest.mark.parametrize("build_in", BUILT_IN, ids=lambda build_in: build_in.__name__)
def test_a_block_with_something_built_in_stays_plain_and_only_that(
    model, randn, assert_close, build_in
):
    unet = model.double().unet
    packed, before = packed_names(unet), predict(unet, randn)
    build_in(unet)
    wanted = predict(unet, randn)
    assert_close(predict(accelerate(unet), randn), wanted, 1e-12)
    assert [name for name in packed if name not in packed_names(unet)] == BUILT_IN[build_in]
    assert build_in is another_kind_of_attention or not torch.allclose(before, wanted)


def another_eps(unet):
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.eps = 0.1


def other_heads(unet):
    for module in unet.modules():
        if isinstance(module, CrossAttention):
            module.n_heads = 1


def training_mode(unet):
    unet.train()


@pytest.mark.parametrize("change", [another_eps, other_heads, training_mode])
def test_numbers_that_packed_layers_read_may_be_changed(model, randn, assert_close, change):
    unet = model.double().unet
    packed = packed_names(unet)
    change(unet)
    assert_close(predict(accelerate(unet), randn), predict(unet, randn), 1e-12)
    assert packed_names(unet) == packed


HOOKED = ["", "middle_block", "middle_block.0", "middle_block.1.transformer_blocks.0.attn2"]


@pytest.mark.parametrize("name", [*HOOKED, "out.2", "out", "input_blocks.1.0.in_layers.0"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_takes_effect_wherever_it_is(model, randn, assert_close, name, when):
    unet, calls = model.double().unet, []
    plain = predict(unet, randn)

    def hook(module, args, out):
        calls.append(type(module))
        return 2 * out

    network = accelerate(unet) if when == "after" else None
    handle = unet.get_submodule(name).register_forward_hook(hook)
    network = network or accelerate(unet)
    found = predict(network, randn)
    assert calls == [type(unet.get_submodule(name))]
    assert_close(found, predict(unet, randn), 1e-12)
    assert not torch.allclose(found, plain)
    handle.remove()
    assert_close(predict(network, randn), plain, 1e-12)


def test_a_hook_leaves_other_blocks_packed(model, randn, monkeypatch):
    unet, ran = model.unet, []
    network = accelerate(unet)
    for name, module in network.named_modules():
        if isinstance(module, Packed):
            monkeypatch.setattr(
                module, "forward", lambda *a, f=module.forward, n=name: ran.append(n) or f(*a)
            )
    hook_inside(unet)
    network(randn(1, 4, 4, 6).float(), T, randn(2, 5, 16).float())
    assert [name for name in packed_names(unet) if name not in ran] == ["middle_block.1"]


def test_a_global_hook_sees_the_layers_of_the_model(model, randn):
    seen, unet = [], model.double().unet
    network = accelerate(unet)
    handle = torch_module.register_module_forward_hook(lambda m, args, out: seen.append(m))
    try:
        predict(network, randn)
        layers = {id(m) for m in seen}
        seen.clear()
        predict(unet, randn)
    finally:
        handle.remove()
    leaves = {id(m) for m in seen if not list(m.children())}
    assert leaves and leaves <= layers


def test_a_replaced_method_of_a_class_takes_effect(model, randn, assert_close, monkeypatch):
    unet = model.double().unet
    before = predict(accelerate(unet), randn)
    monkeypatch.setattr(
        CrossAttention, "forward", lambda self, x, cond=None: torch.zeros_like(x)
    )
    found = predict(accelerate(unet), randn)
    assert_close(found, predict(unet, randn), 1e-12)
    assert not torch.allclose(found, before)


def test_a_replaced_attention_takes_effect(model, randn, assert_close, monkeypatch):
    unet = model.double().unet
    before, packed = predict(accelerate(unet), randn), packed_names(unet)
    monkeypatch.setitem(attention.ATTENTION, "flash", lambda q, k, v: torch.zeros_like(q))
    found = predict(accelerate(unet), randn)
    assert_close(found, predict(unet, randn), 1e-12)
    assert not torch.allclose(found, before)
    plain = set(packed) - set(packed_names(unet))
    assert plain == {name for name in packed if name.endswith(".1")}  # the transformers


class Counting(nn.Module):
    """A class of the user's that writes on itself."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, *args):
        self.calls += 1
        return 2 * self.inner(*args)


def test_a_module_of_the_users_stays_as_it_is_with_all_inside(model, randn):
    x, c = randn(1, 4, 4, 6).float(), randn(2, 5, 16).float()
    model.unet = Counting(model.unet)
    network = accelerate(model)
    assert network.unet is model.unet
    assert torch.equal(network.unet(x, T, c), model.unet(x, T, c))
    assert model.unet.calls == 2
    assert isinstance(network.autoencoder.decoder, Packed)


def test_a_model_of_the_users_class_stays_as_it_is(model):
    class Louder(LatentDiffusion):
        def forward(self, *args):
            return 2 * super().forward(*args)

    model.__class__ = Louder
    assert accelerate(model) is model


def test_methods_set_on_a_network_take_effect(model, randn):
    model.encode_prompt = lambda prompts: torch.ones(len(prompts), 77, 16)
    model.autoencoder.decode = lambda z: torch.zeros(1, 3, 32, 32)
    network = accelerate(model)
    assert torch.equal(network.encode_prompt(["a"]), torch.ones(1, 77, 16))
    assert torch.equal(network.decode_latent(randn(1, 4, 4, 4)), torch.zeros(1, 3, 32, 32))


def test_another_tokenizer_is_used(model):
    network = accelerate(model)
    assert network.text_encoder.tokenizer is model.text_encoder.tokenizer
    model.text_encoder.tokenizer = copy.deepcopy(model.text_encoder.tokenizer)
    assert accelerate(model).text_encoder.tokenizer is model.text_encoder.tokenizer


# Number types


def test_under_autocast_all_layers_are_plain(model, randn):
    network, results = accelerate(model), []
    with torch.autocast("cpu", torch.bfloat16):
        for some in (network, model):
            results.append(answers(some, randn))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("fast", [True, False])
def test_pictures_can_be_drawn_under_autocast(model, fast):
    model.fast = fast
    with torch.autocast("cpu", torch.bfloat16):
        (image,) = txt2img(model, "a house", **QUICK)
    assert image.size == (32, 32)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("part", ["autoencoder", "unet", "text_encoder"])
def test_networks_may_have_different_number_types(model, photo, part, fast):
    getattr(model, part).to(torch.bfloat16)
    model.fast = fast
    for image in (
        *txt2img(model, "a house", **QUICK),
        *img2img(model, "a house", photo(32, 32), **QUICK),
    ):
        assert image.size == (32, 32)


# Threads


def in_threads(run, inputs):
    """`run(input)` for each, all at once."""
    found = {}
    threads = [
        threading.Thread(target=lambda i=i, value=value: found.update({i: run(value)}))
        for i, value in enumerate(inputs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(len(inputs))]


@pytest.mark.slow
def test_threads_may_draw_from_one_model(model):
    def draw(prompt):
        return np.asarray(txt2img(model, prompt, **QUICK)[0]).astype(int)

    prompts = ["a red house", "a boat", "a cat under the moon", "snow"] * 2
    wanted = [draw(prompt) for prompt in prompts]
    assert np.abs(wanted[0] - wanted[1]).max() > 1
    copies._copies.clear()  # so that all of them pack the weights
    for found, alone in zip(in_threads(draw, prompts), wanted, strict=True):
        assert np.abs(found - alone).max() <= 1


def test_threads_may_share_one_tree(model, randn, assert_close):
    unet = model.double().unet
    network, x = accelerate(unet), randn(1, 4, 4, 6)
    prompts = [randn(2, 5, 16, seed=seed) for seed in range(6)]
    found = in_threads(lambda c: [network(x, T, c) for _ in range(3)], prompts)
    for answers_of_one, prompt in zip(found, prompts, strict=True):
        for answer in answers_of_one:
            assert_close(answer, unet(x, T, prompt), 1e-12)


# Pictures


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny", device="cpu")


def half_mask(width, height):
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


TASKS = {
    "txt2img": lambda model, photo: txt2img(
        model, ["a red house", "a boat"], width=96, **QUICK
    ),
    "img2img": lambda model, photo: img2img(
        model, "a red house", photo(120, 75), strength=0.7, **QUICK
    ),
    "inpaint": lambda model, photo: inpaint(
        model, "a red house", photo(120, 75), half_mask(120, 75), **QUICK
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_pictures_differ_by_a_grey_level_in_few_places(tiny, photo, task):
    drawn = []
    for fast in (True, False):
        tiny.fast = fast
        drawn.append(np.stack([np.asarray(i).astype(int) for i in TASKS[task](tiny, photo)]))
    difference = np.abs(drawn[0] - drawn[1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_kept_pixels_are_bit_equal(model, photo):
    image, mask = photo(45, 27), half_mask(45, 27)
    (painted,) = inpaint(model, "a house", image, mask, **QUICK)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])
    assert (np.asarray(painted)[~kept] != np.asarray(image)[~kept]).any(axis=-1).mean() > 0.8


def test_a_call_repeated_gives_the_same_bits(model):
    first, second = (txt2img(model, "a house", **QUICK)[0].tobytes() for _ in range(2))
    assert first == second


def test_attention_is_recorded_while_a_picture_is_drawn(model):
    recorded = []
    for fast in (True, False):
        model.fast = fast
        with record_attention(model.unet) as maps:
            txt2img(model, "a house", **QUICK)
        recorded.append(maps)
    assert len(recorded[0]) > 0
    for found, wanted in zip(*recorded, strict=True):
        assert (found.call, found.block) == (wanted.call, wanted.block)
        torch.testing.assert_close(found.probabilities, wanted.probabilities)
