from argparse import Namespace

import compare
import pairs
import pytest
import table
import torch
from cells import timed_if_agreed

CPU = torch.device("cpu")


def test_the_runs_take_turns():
    called: list[str] = []

    def run(name):
        return lambda: called.append(name) or {"seconds": 1.0}

    pairs.in_turn({"a": run("a"), "b": run("b")}, repeats=2, budget=60, warm_ups=1, label="")
    assert called == ["a", "b"] * 3


def test_there_are_at_least_three_rounds():
    run = {"a": lambda: {"seconds": 1.0}}
    assert (
        len(pairs.in_turn(run, repeats=9, budget=0, warm_ups=0, label="")["a"])
        == pairs.MIN_ROUNDS
    )


def test_a_ratio_is_taken_within_a_round():
    ours, theirs = [1.0, 10.0, 100.0], [2.0, 20.0, 200.0]
    assert pairs.ratios(ours, theirs) == {"median": 0.5, "min": 0.5, "q1": 0.5, "q3": 0.5}


def test_runs_with_different_answers_are_not_timed():
    calls = {"ours": lambda: torch.ones(3), "theirs": lambda: torch.tensor([1.0, 1.0, 1.01])}
    with pytest.raises(RuntimeError, match="theirs differs from ours"):
        timed_if_agreed(calls, torch.float32, CPU)


def test_answers_with_nan_do_not_agree():
    calls = {
        "ours": lambda: torch.full((3,), torch.nan),
        "theirs": lambda: torch.full((3,), torch.nan),
    }
    with pytest.raises(RuntimeError, match="differs from ours"):
        timed_if_agreed(calls, torch.float32, CPU)


def test_the_share_of_the_matmul_rate_counts_the_same_operations():
    readings = {"ours": [{"seconds": 4.0}], table.MATMUL: [{"seconds": 1.0}]}
    result = {"readings": readings, "flops": 200.0, "flops_of_matmul": 100.0}
    assert table.share_of_matmul(result, "ours") == 0.5


@pytest.mark.parametrize("able", [True, False])
def test_without_hardware_for_it_cells_in_bfloat16_must_be_named(monkeypatch, able):
    monkeypatch.setattr(compare, "fast_bfloat16", lambda device: able)
    everywhere = {"device": "cpu", "cells": None, "all": True}
    found = [cell.name for cell in compare.chosen(Namespace(**everywhere))]
    assert any("float32" in name for name in found)
    assert any("bfloat16" in name for name in found) == able
    named = compare.chosen(Namespace(**everywhere | {"cells": "VAE decode 512, bfloat16"}))
    assert [cell.name for cell in named] == ["VAE decode 512, bfloat16"]
