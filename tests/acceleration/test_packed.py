import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from labml_sd.acceleration.packed import SIZES, has_own_methods, is_alike, is_ordinary, new
from labml_sd.acceleration.transformer import PackedSpatialTransformer
from labml_sd.acceleration.unet_blocks import PackedResBlock
from labml_sd.unet.attention import CrossAttention
from labml_sd.unet.blocks import ResBlock
from labml_sd.unet.spatial_transformer import SpatialTransformer


@pytest.fixture
def plain(randomise):
    return randomise(ResBlock(4, 8, 6, norm_groups=2).double())


@pytest.fixture
def ran(monkeypatch):
    """What computed, in order: "packed" or "plain"."""
    seen = []
    for kind, name in ((PackedResBlock, "packed"), (ResBlock, "plain")):
        forward = kind.forward

        def run(self, x, t_emb, forward=forward, name=name):
            seen.append(name)
            return forward(self, x, t_emb)

        monkeypatch.setattr(kind, "forward", run)
    return seen


@pytest.fixture
def given(randn):
    return randn(2, 4, 3, 5), randn(1, 6, seed=1)


def test_a_packed_layer_computes_and_shares_all_that_the_plain_one_has(
    plain, given, ran, assert_close
):
    packed = PackedResBlock(plain)
    found = packed(*given)
    assert ran == ["packed"]
    assert_close(found, plain(*given), 1e-14)
    assert isinstance(packed, ResBlock)
    assert list(packed.state_dict()) == list(plain.state_dict())
    assert all(a is b for a, b in zip(packed.parameters(), plain.parameters(), strict=True))
    assert [name for name, _ in packed.named_modules()] == [n for n, _ in plain.named_modules()]


REGISTER = {
    "forward hook": lambda m, hook: m.register_forward_hook(hook),
    "forward hook with keywords": lambda m, hook: m.register_forward_hook(
        lambda module, args, kwargs, out: hook(module, args, out), with_kwargs=True
    ),
    "forward hook that is always called": lambda m, hook: m.register_forward_hook(
        hook, always_call=True
    ),
    "forward pre-hook": lambda m, hook: m.register_forward_pre_hook(hook),
    "backward hook": lambda m, hook: m.register_full_backward_hook(hook),
    "backward pre-hook": lambda m, hook: m.register_full_backward_pre_hook(hook),
}
INSIDE = ["", "in_layers", "in_layers.0", "out_layers.3", "emb_layers.1", "skip_connection"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize("kind", REGISTER)
def test_a_hook_of_any_kind_anywhere_inside_sends_it_to_the_plain_layer(
    plain, given, ran, kind, where, when
):
    calls = []

    def register():
        return REGISTER[kind](
            plain.get_submodule(where), lambda module, *_: calls.append(module)
        )

    handle = register() if when == "before" else None
    packed = PackedResBlock(plain)
    handle = handle or register()
    packed(*given)
    assert ran == ["plain"]
    if "forward" in kind:
        assert calls == [plain.get_submodule(where)]  # once, with the layer of the network
    handle.remove()
    packed(*given)
    assert ran == ["plain", "packed"]


def test_a_hook_on_the_packed_layer_is_one_on_the_plain_layer(plain, given, ran):
    packed = PackedResBlock(plain)
    packed.register_forward_hook(lambda module, args, out: 2 * out)
    assert torch.equal(packed(*given), plain(*given))
    assert ran == ["plain"] * 2


GLOBAL = [
    partial(torch_module.register_module_forward_hook, lambda *_: None),
    partial(torch_module.register_module_forward_pre_hook, lambda *_: None),
    partial(torch_module.register_module_full_backward_hook, lambda *_: None),
    partial(torch_module.register_module_full_backward_pre_hook, lambda *_: None),
]


@pytest.mark.parametrize("register", GLOBAL, ids=lambda register: register.func.__name__)
def test_a_global_hook_sends_it_to_the_plain_layer(plain, given, ran, register):
    packed, handle = PackedResBlock(plain), register()
    try:
        packed(*given)
    finally:
        handle.remove()
    packed(*given)
    assert ran == ["plain", "packed"]


def test_autocast_sends_it_to_the_plain_layer(plain, given, ran):
    packed, (x, t_emb) = PackedResBlock(plain.float()), (v.float() for v in given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed(x, t_emb), plain(x, t_emb))
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        packed(x, t_emb)
    assert ran == ["plain", "plain", "packed"]


def test_gradients_send_it_to_the_plain_layer(plain, given, ran):
    packed, (x, t_emb) = PackedResBlock(plain), given
    x.requires_grad_()
    packed(x, t_emb).sum().backward()
    assert x.grad is not None and ran == ["plain"]
    with torch.no_grad():
        packed(x, t_emb)
    packed(x.detach(), t_emb)
    packed(x.detach(), t_emb.requires_grad_())
    plain.requires_grad_(True)
    packed(x.detach(), t_emb.detach())
    assert ran == ["plain", "packed", "packed", "plain", "plain"]


def test_another_number_type_is_the_plain_layers_error(plain, given):
    packed, (x, t_emb) = PackedResBlock(plain), given
    messages = []
    for layer in (plain, packed):
        with pytest.raises(RuntimeError) as raised:
            layer(x.float(), t_emb)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_a_deep_copy_and_a_pickle_are_plain(plain, given):
    packed = PackedResBlock(plain)
    packed(*given)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert type(other) is ResBlock
        assert torch.equal(other(*given), plain(*given))
        assert other.in_layers[2].weight is not plain.in_layers[2].weight


# What is ordinary


def replaced(name, layer):
    def change(block):
        parent, _, last = name.rpartition(".")
        setattr(block.get_submodule(parent), last, layer)

    return change


class LoudConv(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def own_forward(block):
    block.forward = lambda x, t_emb: x


def own_forward_inside(block):
    block.in_layers[2].forward = lambda x: x


def circular(block):
    block.in_layers[2].padding_mode = "circular"


def another_padding(block):
    block.in_layers[2].padding = (0, 0)


def dropout(block):
    block.out_layers[2].p = 0.5


def two_types(block):
    block.in_layers[0].float()


def a_layer_more(block):
    block.in_layers.append(nn.Identity())


def without_bias(block):
    block.in_layers[2].bias = None


def weight_of_a_subclass(block):
    class Quantised(nn.Parameter):
        pass

    block.in_layers[2].weight = Quantised(block.in_layers[2].weight)


def reparametrised(block):
    nn.utils.parametrizations.weight_norm(block.in_layers[2])


CHANGES = {
    "a layer replaced": replaced("in_layers.2", LoudConv(4, 8, 3, padding=1).double()),
    "the activation replaced": replaced("in_layers.1", nn.ReLU()),
    "a skip connection of another kind": replaced("skip_connection", nn.Linear(4, 8).double()),
    **{
        change.__name__: change
        for change in (
            *(own_forward, own_forward_inside, circular, another_padding, dropout, two_types),
            *(a_layer_more, without_bias, weight_of_a_subclass, reparametrised),
        )
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_layer_that_was_changed_does_not_fit(plain, change):
    assert PackedResBlock.fits(plain)
    CHANGES[change](plain)
    assert not PackedResBlock.fits(plain)


def test_a_layer_with_other_sizes_numbers_or_eps_fits(randomise):
    block = ResBlock(12, 6, 7, norm_groups=3).train()
    block.in_layers[0].eps = 0.1
    assert PackedResBlock.fits(block)
    assert PackedResBlock.fits(ResBlock(12, 12, 7, norm_groups=3).half())


def test_a_hook_is_no_change(plain):
    plain.in_layers[2].register_forward_hook(lambda *_: None)
    assert PackedResBlock.fits(plain)


@pytest.mark.parametrize("kind", [ResBlock, nn.Conv2d, nn.Sequential, nn.Linear])
def test_a_class_with_a_method_replaced_is_noticed(plain, monkeypatch, kind):
    assert has_own_methods(kind)
    monkeypatch.setattr(kind, "forward", lambda self, *args: args[0])
    assert not has_own_methods(kind)
    assert PackedResBlock.fits(plain) is False


@pytest.mark.parametrize("name", ["forward", "split_heads"])
def test_a_replaced_method_of_attention_is_noticed(randomise, monkeypatch, name):
    block = randomise(SpatialTransformer(8, 6, n_heads=2, norm_groups=4))
    assert PackedSpatialTransformer.fits(block)
    monkeypatch.setattr(CrossAttention, name, lambda self, x, cond=None: x)
    assert not PackedSpatialTransformer.fits(block)


def test_alike_is_about_structure_at_every_depth():
    like = new(ResBlock, 1, 2, 1, norm_groups=1)
    assert is_alike(ResBlock(4, 8, 6, norm_groups=2), like, SIZES)
    assert not is_alike(ResBlock(4, 8, 6, norm_groups=2), like, frozenset())
    assert not is_alike(ResBlock(4, 4, 6, norm_groups=2), like, SIZES)
    assert not is_ordinary(nn.Sequential(ResBlock(4, 8, 6, norm_groups=2)), like)
