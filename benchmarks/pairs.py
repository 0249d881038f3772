"""Runs in turn: A B C, A B C, ... in one process, so that other load affects all alike.

A ratio is taken within each round, and the result is the median of these ratios: a slow minute
of the machine slows both halves of a ratio.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from tqdm import tqdm

Reading = dict[str, float]
"""Of one run: "seconds", and whatever else the cell measures ("peak_gib", ...)."""

Run = Callable[[], Reading]

MIN_ROUNDS = 3


def timed(function: Callable[[], object], device: torch.device) -> Run:
    """One call as a run. On CUDA timed by events, with the peak of additional memory."""

    def on_cpu() -> Reading:
        started = time.perf_counter()
        function()
        return {"seconds": time.perf_counter() - started}

    def on_cuda() -> Reading:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - held
        return {"seconds": begin.elapsed_time(end) / 1e3, "peak_gib": peak / 2**30}

    return on_cuda if device.type == "cuda" else on_cpu


def in_turn(
    runs: Mapping[str, Run], *, repeats: int, budget: float, warm_ups: int, label: str
) -> dict[str, list[Reading]]:
    """Warm each up, then run `repeats` rounds; after `budget` seconds at least 3 are enough."""
    readings: dict[str, list[Reading]] = {name: [] for name in runs}
    with tqdm(total=repeats + warm_ups, desc=label, leave=False) as bar:
        for _ in range(warm_ups):
            for run in runs.values():
                run()
            bar.update()
        gc.collect()
        started = time.perf_counter()
        for done in range(1, repeats + 1):
            for name, run in runs.items():
                readings[name].append(run())
            bar.update()
            if done >= MIN_ROUNDS and time.perf_counter() - started > budget:
                break
    return readings


def column(readings: Sequence[Reading], key: str = "seconds") -> list[float]:
    """One quantity in all rounds."""
    return [reading[key] for reading in readings]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and quartiles."""
    if len(values) == 1:
        return dict.fromkeys(("median", "min", "q1", "q3"), values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "min": min(values), "q1": q1, "q3": q3}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The spread of ours / theirs over the rounds."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])
