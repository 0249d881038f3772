import gc
import json
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch

from labml_sd.acceleration.compiled import GraphedUNet, compile_unet
from labml_sd.config import UNetConfig
from labml_sd.unet import UNet

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


def test_a_compiled_unet_gives_the_same_numbers(answer):
    assert answer["error"] <= 1e-13


def test_every_block_is_one_graph_without_breaks_and_equal_blocks_share_it(answer):
    shapes = answer["shapes"]
    assert answer["breaks"] == {}
    assert answer["graphs"] == shapes["all"] < shapes["blocks"]
    assert shapes["of ResBlocks"] > 8  # more than PyTorch would translate of one function


def test_weights_may_change_afterwards_and_nothing_is_translated_again(answer):
    assert answer["error with changed weights"] <= 1e-13
    assert answer["graphs with changed weights"] == answer["graphs"]


def test_a_unet_knows_that_it_is_compiled_and_its_weights_keep_their_names(answer):
    assert answer["compiled"] == [False, True]
    assert answer["same names"]


def test_a_recording_does_not_keep_the_unet_alive(randomise):
    unet = randomise(UNet(SMALL))
    graphed, gone = GraphedUNet(unet), weakref.ref(unet)
    del unet
    gc.collect()
    assert gone() is None and graphed.graphs == {}


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [True, False])
def test_on_a_gpu_a_recording_replays_the_unet_for_every_input_and_size(
    unet, randn, assert_close, compiled
):
    unet.to("cuda", torch.float32)
    plain = partial(UNet.forward, unet)
    cuda = partial(torch.Tensor.to, device="cuda", dtype=torch.float32)
    graphed = GraphedUNet(unet)
    asked = [
        (randn(b, 4, 8, w, seed=b), randn(2 * b, 5, 6, seed=w))
        for b, w in ((1, 8), (2, 8), (1, 16))
    ]
    wanted = {}
    for i, (x, cond) in enumerate(asked):
        for t in (900.0, 3.5):
            times = torch.full((len(cond),), t, device="cuda")
            wanted[i, t] = plain(torch.cat([cuda(x)] * 2), times, cuda(cond)).clone()
    if compiled:
        compile_unet(unet)
    for (i, t), eps in wanted.items():
        x, cond = asked[i]
        assert_close(graphed.prompted(cuda(cond))(cuda(x), t), eps, 1e-3)
    assert len(graphed.graphs) == len(asked)
