import gc
import json
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch

from labml_sd.acceleration import accelerate, compiled
from labml_sd.acceleration.compiled import (
    GraphedUNet,
    compile_unet,
    is_compiled,
    is_unchanged,
)
from labml_sd.config import UNetConfig
from labml_sd.unet import NO_RESIDUALS, UNet, UNetResiduals
from labml_sd.unet.attention import ATTENTION, CrossAttention
from labml_sd.unet.blocks import ResBlock

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2),
    attention_levels=(0,),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)


@pytest.fixture
def unet(randomise):
    return randomise(UNet(SMALL).double())


@pytest.fixture(scope="module")
def answer():
    child = Path(__file__).with_name("compiled_child.py")
    done = subprocess.run([sys.executable, str(child)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_compiled_unet_gives_the_same_numbers(answer):
    assert answer["error"] <= 1e-13


@pytest.mark.slow
def test_every_block_is_one_graph_without_breaks_and_equal_blocks_share_it(answer):
    shapes = answer["shapes"]
    assert answer["breaks"] == {}
    assert answer["graphs"] == shapes["all"] < shapes["blocks"]
    assert shapes["of ResBlocks"] > 8  # more than PyTorch would compile of one function


@pytest.mark.slow
def test_weights_may_change_afterwards_and_nothing_is_compiled_again(answer):
    assert answer["error with changed weights"] <= 1e-13
    assert answer["graphs with changed weights"] == answer["graphs"]


@pytest.mark.slow
def test_a_unet_knows_that_it_is_compiled_and_its_weights_keep_their_names(answer):
    assert answer["compiled"] == [False, True]
    assert answer["same names"]


def test_compiled_blocks_stay_as_they_are_in_an_accelerated_tree(unet):
    compile_unet(unet, "eager")
    network = accelerate(unet)
    blocks = [m for m in unet.modules() if isinstance(m, ResBlock)]
    assert [m for m in network.modules() if isinstance(m, ResBlock)] == blocks


def test_a_network_that_the_user_compiled_is_not_taken_apart(unet):
    unet.compile(backend="eager")
    assert accelerate(unet) is unet


# CUDA graphs


class FakeGraph:
    """Runs again, in place of a CUDA graph."""

    def __init__(self, run):
        self.run, self.out = run, run().clone()

    def replay(self):
        self.out.copy_(self.run())


@pytest.fixture
def recorded(monkeypatch):
    """The graphs that are recorded, fakes on the CPU."""
    graphs = []

    def record(run):
        graphs.append(FakeGraph(run))
        return graphs[-1], graphs[-1].out

    monkeypatch.setattr(compiled, "record", record)
    return graphs


def asked(randn):
    return [
        (randn(b, 4, 8, w, seed=b), torch.full((1,), t), randn(2 * b, 5, 6, seed=w))
        for b, w in ((1, 8), (2, 8), (1, 16))
        for t in (900.0, 3.5)
    ]


def test_a_graph_is_recorded_for_each_shape_and_replayed_for_every_input(
    unet, randn, recorded, assert_close
):
    network = GraphedUNet(unet)
    for _ in range(2):
        for given in asked(randn):
            before = [value.clone() for value in given]
            assert_close(network(*given), unet(*given), 1e-13)
            assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
    assert len(recorded) == 3


def test_what_a_replay_returned_stays_as_it_was(unet, randn, recorded):
    network, ((x, t, cond), *_) = GraphedUNet(unet), asked(randn)
    first = network(x, t, cond)
    before = first.clone()
    network(x + 1, t, cond)
    assert torch.equal(first, before)


def test_the_graphs_of_a_unet_are_kept_while_its_weights_stay_where_they_are(
    unet, randn, recorded, assert_close
):
    given = asked(randn)[0]
    GraphedUNet(unet)(*given)
    unet.out[2].weight.mul_(2)  # in place: the graph reads the new numbers
    assert_close(GraphedUNet(unet)(*given), unet(*given), 1e-13)
    assert len(recorded) == 1
    unet.out[2].weight.data = unet.out[2].weight.data.clone()
    GraphedUNet(unet)(*given)
    assert len(recorded) == 2


def test_graphs_do_not_keep_the_unet_alive(randomise, randn, monkeypatch):
    unet = randomise(UNet(SMALL).double())
    monkeypatch.setattr(compiled, "record", lambda run: (None, run()))
    network, gone = GraphedUNet(unet), weakref.ref(unet)
    x, t, cond = asked(randn)[0]
    network.graphs.replays["some"] = network._record(x, t, cond)
    graphs = network.graphs
    del unet, network
    gc.collect()
    assert gone() is None and len(graphs.replays) == 1


def test_residuals_and_hooks_are_not_for_a_graph(unet, randn, recorded):
    network, (x, t, cond) = GraphedUNet(unet), asked(randn)[0]
    middle = randn(2, 16, 4, 4, seed=9)
    residuals = UNetResiduals(features={}, skips=(), middle=middle)
    assert torch.equal(network(x, t, cond, residuals), unet(x, t, cond, residuals))
    handle = unet.middle_block[0].register_forward_hook(lambda m, args, out: 2 * out)
    assert torch.equal(network(x, t, cond), unet(x, t, cond))
    assert recorded == []
    handle.remove()
    network(x, t, cond, NO_RESIDUALS)
    assert len(recorded) == 1


def other_heads(unet, _):
    for module in unet.modules():
        if hasattr(module, "n_heads"):
            module.n_heads = 1


def replaced_method(unet, monkeypatch):
    monkeypatch.setattr(CrossAttention, "forward", lambda self, x, cond=None: x)


def replaced_attention(unet, monkeypatch):
    monkeypatch.setitem(ATTENTION, "flash", lambda q, k, v: q)


CHANGES = [
    lambda unet, _: unet.use_attention("normal"),
    lambda unet, _: unet.middle_block[0].__setattr__("forward", lambda x, t_emb: x),
    other_heads,
    replaced_method,
    replaced_attention,
]


def test_only_a_compiled_unet_on_cuda_is_graphed(unet):
    assert not GraphedUNet.fits(unet)
    compile_unet(unet, "eager")
    assert is_compiled(unet) and not GraphedUNet.fits(unet)


@pytest.mark.parametrize("change", CHANGES)
def test_a_compiled_unet_counts_as_unchanged_unless_it_was_changed(unet, monkeypatch, change):
    compile_unet(unet, "eager")
    unet.middle_block.register_forward_hook(lambda *_: None)
    assert is_unchanged(unet.train())
    change(unet, monkeypatch)
    assert not is_unchanged(unet)


@pytest.mark.gpu
def test_on_a_gpu_a_graph_replays_the_unet_for_every_input_and_size(unet, randn, assert_close):
    # compiled as well: tests/gpu/test_compiled.py
    unet.to("cuda", torch.float32)
    cuda = partial(torch.Tensor.to, device="cuda", dtype=torch.float32)
    inputs = [tuple(map(cuda, given)) for given in asked(randn)]
    with torch.no_grad():
        wanted = [UNet.forward(unet, *given).clone() for given in inputs]
        network = GraphedUNet(unet)
        for given, eps in zip(inputs, wanted, strict=True):
            assert_close(network(*given), eps, 1e-3)
        assert not GraphedUNet.fits(unet)
    assert len(network.graphs.replays) == 3
