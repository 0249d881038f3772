"""What the page says of each kind of finding."""

from collections.abc import Callable, Sequence
from typing import Any

Finding = dict[str, Any]
Row = tuple[str, ...]
TIMED = ("step", "whole image", "decode")


def cell_of(one: Finding) -> str:
    """A cell in words."""
    plural = "s" if one["images"] > 1 else ""
    return f"{one['pixels']} px, {one['images']} image{plural}, {one['dtype']}"


def time_of(one: Finding) -> str:
    """Median and quartiles in milliseconds."""
    seconds = one["seconds"]
    median, q1, q3 = (f"{1e3 * seconds[key]:.4g}" for key in ("median", "q1", "q3"))
    return f"{median} ms ({q1}-{q3})"


def memory_of(one: Finding) -> str:
    """Peak memory in GiB, where it is known."""
    return "" if one["peak_gib"] is None else f"{one['peak_gib']:.2f}"


def step_row(one: Finding) -> Row:
    """One contender in one cell."""
    median, ratio = one["seconds"]["median"], one["ratio"]
    return (
        cell_of(one),
        one["contender"],
        time_of(one),
        f"{1 / median:.1f}",
        f"{one['images'] / median:.1f}",
        f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})",
        f"{one['tflops']:.3g}",
        memory_of(one),
        f"{one['error']:.1e}",
    )


def step_rows(found: Sequence[Finding]) -> list[Row]:
    """Each contender in each cell."""
    return [step_row(one) for one in found]


def image_rows(found: Sequence[Finding]) -> list[Row]:
    """A row for each number format: the worst of its images."""
    formats: dict[str, list[Finding]] = {}
    for one in found:
        formats.setdefault(one["dtype"], []).append(one)
    return [
        (
            name,
            str(len(images)),
            f"{max(one['mean'] for one in images):.3f}",
            str(max(one["largest"] for one in images)),
            f"{max(one['share_above_2'] for one in images):.2%}",
        )
        for name, images in formats.items()
    ]


def loop_rows(found: Sequence[Finding]) -> list[Row]:
    """The loops that waited, and where; the others are counted."""
    rows = []
    for one in found:
        if one["waits"]:
            where = ", ".join(f"{place} ({n})" for place, n in one["waits"].items())
            layers = "accelerated" if one["fast"] else "plain"
            rows.append((f"{one['job']}, {layers}", str(one["steps"]), where))
    n_steps = sum(one["steps"] for one in found if not one["waits"])
    return [*rows, (f"{len(found) - len(rows)} loops", str(n_steps), "nowhere")]


def timed_rows(name: str) -> Callable[[Sequence[Finding]], list[Row]]:
    """Rows of something else that was timed, `name` being its size."""
    return lambda found: [
        (one["contender"], str(one[name]), time_of(one), memory_of(one)) for one in found
    ]


PEAK = "peak GiB above the weights"
SECTIONS: dict[str, tuple[Row, Callable[[Sequence[Finding]], list[Row]]]] = {
    "image": (
        ("format", "images", "mean difference in grey levels", "largest", "above 2 levels"),
        image_rows,
    ),
    "loop": (("loop", "steps", "waited"), loop_rows),
    "step": (
        (
            *("cell", "", "a step", "steps/s", "image-steps/s", "ours / theirs"),
            *("TFLOP/s", PEAK, "relative difference"),
        ),
        step_rows,
    ),
    "whole image": (("", "steps", "an image", PEAK), timed_rows("steps")),
    "decode": (("", "pixels", "decoding", PEAK), timed_rows("pixels")),
    "offload": (("", "steps", "an image", "peak GiB"), timed_rows("steps")),
}
"""By kind of finding: the head of its table, and its rows."""


def one_line(one: Finding) -> str:
    """Any other finding."""
    values = ", ".join(
        f"{name} {value:.4g}"
        if isinstance(value, float)
        else f"{name} {value}".removeprefix("message ")
        for name, value in one.items()
        if name != "finding"
    )
    return f"{one['finding']}: {values}"
