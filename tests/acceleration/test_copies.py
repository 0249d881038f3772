import copy
import gc
import threading
import weakref

import pytest
import torch
from torch import nn

from labml_sd.acceleration import copies
from labml_sd.acceleration.copies import Weights, forget_moved


@pytest.fixture
def weight(randn):
    return nn.Parameter(randn(6, 5).float(), requires_grad=False)


@pytest.fixture
def made():
    """What was packed, in order."""
    return []


@pytest.fixture
def pack(made):
    def run(weight):
        made.append(weight.clone())
        return 2 * weight

    return run


def test_a_copy_is_made_once_for_all_who_ask(weight, made, pack):
    first = Weights(weight).copy("twice", pack)
    assert Weights(weight).copy("twice", pack) is first
    assert len(made) == 1 and torch.equal(first, 2 * weight)


def test_copies_for_different_uses_and_parts_are_kept_apart(weight, pack):
    top, bottom = weight.chunk(2)
    whole = Weights(weight).copy("twice", pack)
    other = Weights(weight).copy("twice, in another form", pack)
    parts = [
        Weights(part, owner=weight, name=name).copy("twice", pack)
        for part, name in ((top, "top"), (bottom, "bottom"))
    ]
    assert other is not whole
    assert torch.equal(torch.cat(parts), whole)


def test_a_changed_weight_is_packed_again_and_the_old_copy_let_go(weight, made, pack):
    old = weakref.ref(Weights(weight).copy("twice", pack))
    weight.data[4] = 0
    new = Weights(weight).copy("twice", pack)
    assert torch.equal(new, 2 * weight) and len(made) == 2
    gc.collect()
    assert old() is None


def test_of_several_weights_a_change_of_any_is_noticed(weight, made, pack):
    other = nn.Parameter(weight.clone())
    both = Weights(weight, other)
    assert torch.equal(both.copy("twice", pack), 2 * torch.cat([weight, other]))
    other.data[0] += 1
    assert torch.equal(both.copy("twice", pack), 2 * torch.cat([weight, other]))
    assert len(made) == 2


def test_several_weights_are_joined_and_one_is_itself(weight):
    assert Weights(weight).joined.data_ptr() == weight.data_ptr()
    joined = Weights(weight, weight + 1).joined
    assert torch.equal(joined, torch.cat([weight, weight + 1]))


def test_copies_go_when_their_weight_goes(weight, pack):
    gone = weakref.ref(Weights(weight).copy("twice", pack))
    other = copy.deepcopy(weight)
    Weights(other).copy("twice", pack)
    del weight
    n_weights = len(copies._copies)
    gc.collect()
    # the fixture still holds the weight; its deep copy is the one to go
    ref = weakref.ref(Weights(other).copy("twice", pack))
    del other
    gc.collect()
    assert ref() is None and gone() is not None
    assert len(copies._copies) == n_weights - 1


def test_copies_of_a_weight_that_changed_its_type_are_dropped(weight, pack):
    old = weakref.ref(Weights(weight).copy("twice", pack))
    forget_moved([weight])
    gc.collect()
    assert old() is not None
    weight.data = weight.data.bfloat16()
    forget_moved([weight])
    gc.collect()
    assert old() is None


def test_threads_may_ask_at_once(weight, pack):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Weights(weight).copy("twice", pack)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(twice, 2 * weight) for twice in found)
