import itertools
import random

import pytest
import torch
from torch.nn import functional as F

from labml_sd.interrogator.ranking import MODES, N_FAST, Ranking, Table

NAMES = ("mediums", "artists", "movements", "flavours")


def unit(values):
    return F.normalize(torch.tensor(values, dtype=torch.float32), dim=-1)


def ranking(tables, similarity, *, picture=(1.0, 0.0), max_phrases=100):
    def fits(prompt):
        return prompt.count(",") <= max_phrases

    return Ranking(tables, unit(picture), lambda prompts: [*map(similarity, prompts)], fits)


def plane(prefix, *angles):
    """Phrases whose vectors stand at these angles, in radians, from the picture's."""
    angles = torch.tensor(angles)
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    return Table(tuple(f"{prefix}{i}" for i in range(len(angles))), vectors)


TABLES = {
    "mediums": plane("m", 0.9, 0.2),
    "artists": plane("a", 0.5, 0.8, 0.1),
    "movements": plane("o", 0.7, 0.6),
    "flavours": plane("f", 0.3, 0.05, 0.4, 1.0),
}


def test_the_closest_phrases_come_first_and_of_equals_the_earlier_one():
    table = plane("p", 0.5, 0.1, 0.5, 0.3)
    assert table.best(unit([1.0, 0.0]), 4) == ["p1", "p3", "p0", "p2"]
    assert table.best(unit([1.0, 0.0])) == ["p1"]


def test_fast_takes_the_closest_of_all_lists():
    order = ["f1", "a2", "m1", "f0", "f2", "a0", "o1", "o0", "a1", "m0", "f3"]
    assert len(order) <= N_FAST
    prompt = ranking(TABLES, None).prompt("a cat", "fast")
    assert prompt == ", ".join(["a cat", *order])


def test_classic_takes_one_of_each_list_and_three_flavours():
    prompt = ranking(TABLES, None).prompt("a cat", "classic")
    assert prompt == "a cat, m1, a2, o1, f1, f0, f2"


@pytest.mark.parametrize("mode", ["fast", "classic"])
def test_phrases_end_where_clip_reads_no_further(mode):
    prompt = ranking(TABLES, None, max_phrases=2).prompt("a cat", mode)
    assert prompt == {"fast": "a cat, f1, a2", "classic": "a cat, m1, a2"}[mode]


@pytest.mark.parametrize("mode", MODES)
def test_a_caption_that_is_too_long_stays_alone(mode):
    assert ranking(TABLES, lambda _: 0.0, max_phrases=-1).prompt("a cat", mode) == "a cat"


def test_best_adds_flavours_as_long_as_the_prompt_comes_closer():
    worth = {"a cat": 1.0, "m1": 0.5, "a2": -0.2, "o1": -0.1, "f1": -0.1, "f0": 0.3, "f2": 0.4}
    worth["f3"] = -0.5

    def similarity(prompt):
        return sum(worth[part] for part in prompt.split(", "))

    assert ranking(TABLES, similarity).prompt("a cat", "best") == "a cat, m1, f2, f0"


def test_best_stops_at_the_length_that_clip_reads():
    def similarity(prompt):
        return float(len(prompt))

    prompt = ranking(TABLES, similarity, max_phrases=5).prompt("a cat", "best")
    assert prompt == "a cat, m1, a2, o1, f1, f0"


def brute_force(tables, similarity, fits, caption):
    """The definition once more, with no shared code: sorted lists and nested loops."""
    picture = [1.0, 0.0]

    def ranked(table):
        closeness = [
            sum(a * b for a, b in zip(v, picture, strict=True)) for v in table.vectors.tolist()
        ]
        order = sorted(range(len(closeness)), key=lambda i: -closeness[i])
        return [table.phrases[i] for i in order]

    leaders = [ranked(tables[name])[0] for name in NAMES]
    options = []
    for chosen in itertools.product((False, True), repeat=4):
        some = [leader for leader, is_in in zip(leaders, chosen, strict=True) if is_in]
        options.append(", ".join([caption, *some]))
    best = max((o for o in options if fits(o)), key=similarity)
    value = similarity(best)
    pool = ranked(tables["flavours"])
    while True:
        rest = [f"{best}, {f}" for f in pool if f not in best.split(", ")]
        rest = [prompt for prompt in rest if fits(prompt)]
        if not rest or max(map(similarity, rest)) <= value:
            return best
        best = max(rest, key=similarity)
        value = similarity(best)


@pytest.mark.parametrize("seed", range(40))
def test_best_agrees_with_a_second_implementation(seed):
    rng = random.Random(seed)
    tables = {
        name: plane(name[0] + "x", *(rng.uniform(0, 3) for _ in range(rng.randint(1, 9))))
        for name in NAMES
    }
    worth = {p: rng.gauss(0, 1) for table in tables.values() for p in table.phrases}

    def similarity(prompt):
        parts = prompt.split(", ")[1:]
        return sum(map(worth.get, parts)) - 0.05 * len(parts) ** 2

    n = rng.randint(0, 9)
    found = ranking(tables, similarity, max_phrases=n).prompt("caption", "best")
    expected = brute_force(tables, similarity, lambda p: p.count(",") <= n, "caption")
    assert found == expected


def test_each_set_of_prompts_is_reported():
    rounds = []
    tables = Ranking(
        TABLES, unit([1.0, 0.0]), lambda ps: [float(len(p)) for p in ps], lambda _: True,
        lambda: rounds.append(1),
    )  # fmt: skip
    tables.prompt("a cat", "best")
    assert len(rounds) == 1 + 3  # the subsets, then each flavour that is not among them
