import collections
import functools
import threading
from types import SimpleNamespace

import pytest
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from labml_sd.checkpoint.files.stand_ins import (
    DictStandIn,
    ListStandIn,
    ParameterDictStandIn,
    StandIn,
    standing_in,
)


@pytest.fixture(autouse=True)
def own_list():
    """An empty list for each test; afterwards torch's is what it was."""
    before = get_safe_globals()
    clear_safe_globals()
    yield
    clear_safe_globals()
    add_safe_globals(before)


def save(path, value):
    torch.save(value, path)
    return path


def test_objects_become_stand_ins_without_content(tmp_path):
    path = save(tmp_path / "x", {"a": SimpleNamespace(b=1), "c": functools.partial(int, "7")})
    kinds = dict.fromkeys(
        ("types.SimpleNamespace", "functools.partial", "builtins.int"), StandIn
    )
    with standing_in(kinds):
        found = torch.load(path, weights_only=True)
    assert {key: (type(value), vars(value)) for key, value in found.items()} == {
        "a": (StandIn, {}),
        "c": (StandIn, {}),
    }


def test_what_is_filled_as_a_list_or_a_dictionary_becomes_one(tmp_path):
    value = [collections.deque([1, 2], 3), collections.defaultdict(list, a=1)]
    kinds = {
        "collections.deque": ListStandIn,
        "collections.defaultdict": DictStandIn,
        "builtins.list": StandIn,
    }
    with standing_in(kinds):
        assert torch.load(save(tmp_path / "x", value), weights_only=True) == [[1, 2], {"a": 1}]


def test_of_a_parameter_dictionary_only_tensors_are_kept(tmp_path):
    value = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 3))})
    kinds = {"torch.nn.modules.container.ParameterDict": ParameterDictStandIn}
    with standing_in(kinds):
        found = torch.load(save(tmp_path / "x", {"a": value}), weights_only=True)["a"]
    assert type(found) is ParameterDictStandIn and found.keys() == {"*"}
    assert torch.equal(found["*"], torch.ones(2, 3))


@pytest.mark.parametrize(
    "state", [None, 5, {}, {"_parameters": [1]}, {"_parameters": {"a": 1, 5: torch.ones(1)}}]
)
def test_another_state_of_a_parameter_dictionary_leaves_it_empty(state):
    found = ParameterDictStandIn()
    found.__setstate__(state)
    assert found == {}


@pytest.mark.parametrize("allowed", [[], [SimpleNamespace], [(str, "a.b"), functools.partial]])
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_the_list_is_afterwards_what_it_was(allowed, error):
    add_safe_globals(allowed)
    before = set(get_safe_globals())
    try:
        with standing_in({"a.b": StandIn, "types.SimpleNamespace": StandIn}):
            assert (StandIn, "a.b") in get_safe_globals()
            if error:
                raise error
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert set(get_safe_globals()) == before


def test_what_the_program_allowed_is_not_built_for_a_file(tmp_path):
    """It may allow what it trusts in its own files; a stranger's file gets the stand-in."""
    path = save(tmp_path / "x", SimpleNamespace(b=1))
    add_safe_globals([SimpleNamespace, functools.partial])
    for _ in range(10):  # torch keeps a set: which of two entries it finds is left to chance
        with standing_in({"types.SimpleNamespace": StandIn}):
            assert type(torch.load(path, weights_only=True)) is StandIn
            assert functools.partial in get_safe_globals()
    assert type(torch.load(path, weights_only=True)) is SimpleNamespace


def test_two_threads_take_turns():
    inside, seen = threading.Event(), []

    def second():
        inside.wait()
        with standing_in({"b.B": StandIn}):
            seen.append(get_safe_globals())

    thread = threading.Thread(target=second)
    thread.start()
    with standing_in({"a.A": StandIn}):
        inside.set()
        thread.join(0.05)
        seen.append(get_safe_globals())
    thread.join()
    assert seen == [[(StandIn, "a.A")], [(StandIn, "b.B")]] and get_safe_globals() == []
