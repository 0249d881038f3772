"""What the page says of each kind of finding, and which floors the run must pass."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Finding = dict[str, Any]
Row = tuple[str, ...]
OURS = ("labml_sd", "labml_sd compiled")  # what is held against the floors
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


def image_row(one: Finding) -> Row:
    """One image beside the CPU's."""
    share = f"{one['share_above_2']:.2%}"
    return (one["job"], one["dtype"], f"{one['mean']:.3f}", str(one["largest"]), share)


def loop_row(one: Finding) -> Row:
    """One loop: where it waited."""
    where = ", ".join(f"{place} {n} times" for place, n in one["waits"].items())
    layers = "accelerated" if one["fast"] else "plain"
    return (one["job"], layers, str(one["steps"]), where or "nowhere")


def timed_row(*names: str) -> Callable[[Finding], Row]:
    """A row of something else that was timed."""
    return lambda one: (
        *(str(one[name]) for name in names), time_of(one), memory_of(one),
    )  # fmt: skip


SECTIONS: dict[str, tuple[Row, Callable[[Finding], Row]]] = {
    "image": (("job", "format", "mean difference", "largest", "above 2 levels"), image_row),
    "loop": (("job", "layers", "steps", "waited"), loop_row),
    "step": (
        (
            *("cell", "", "a step", "steps/s", "image-steps/s", "ours / theirs"),
            *("TFLOP/s", "peak GiB above the weights", "relative difference"),
        ),
        step_row,
    ),
    "whole image": (
        ("", "steps", "an image", "peak GiB above the weights"),
        timed_row("contender", "steps"),
    ),
    "decode": (
        ("", "pixels", "decoding", "peak GiB above the weights"),
        timed_row("contender", "pixels"),
    ),
}
"""By kind of finding: the head of its table, and a row of it."""


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


def floors(found: Sequence[Finding]) -> list[Row]:
    """What must hold, what was measured, and whether it holds. "-": not measured."""
    eager = steps_a_second(found, "labml_sd", 1)
    compiled = steps_a_second(found, "labml_sd compiled", 1)
    many = [steps_a_second(found, name, 16) for name in OURS]
    batch = max((16 * rate for rate in many if rate is not None), default=None)
    image = seconds_an_image(found)
    return [
        at_least("eager, 512 px, 1 image, float16: steps/s", 54.5, eager),
        at_least("compiled, the same (150 is hoped for)", 104.6, compiled),
        at_least("512 px, 16 images: image-steps/s (250 is hoped for)", 200, batch),
        verdict(
            "30 steps compiled, prompt to pixels: seconds",
            "<= 0.35",
            image,
            image and image <= 0.35,
        ),
        *counted(found),
    ]


def steps_a_second(found: Iterable[Finding], contender: str, images: int) -> float | None:
    """Of a contender at 512 pixels in float16; the best, where it was measured twice."""
    rates = [
        1 / one["seconds"]["median"]
        for one in found
        if one["finding"] == "step"
        and (one["contender"], one["pixels"], one["images"], one["dtype"])
        == (contender, 512, images, "float16")
    ]
    return max(rates, default=None)


def seconds_an_image(found: Iterable[Finding]) -> float | None:
    """Of 30 steps compiled."""
    times = [
        one["seconds"]["median"]
        for one in found
        if one["finding"] == "whole image"
        and (one["contender"], one["steps"]) == ("labml_sd compiled", 30)
    ]
    return min(times, default=None)


def counted(found: Sequence[Finding]) -> list[Row]:
    """What must not happen even once."""
    steps = [one for one in found if one["finding"] == "step"]
    rivals = [one for one in steps if one["contender"].startswith("diffusers")]
    slower = sum(one["ratio"]["median"] >= 1 for one in rivals)
    loops = [one for one in found if one["finding"] == "loop"]
    waiting = sum(bool(one["waits"]) for one in loops)
    models = [one for one in found if one["finding"] == "images without NaN"]
    tests = [one for one in found if one["finding"] == "tests"]
    failed = sum(one.get("failed", 0) for one in tests)
    return [
        none_of("cells in which diffusers is as fast", len(rivals), slower),
        none_of("loops that wait for the GPU", len(loops), waiting),
        none_of("failed tests", sum(one.get("passed", 0) for one in tests) + failed, failed),
        verdict("models that draw without NaN", "2", len(models) or None, len(models) == 2),
    ]


def none_of(what: str, n: int, bad: int) -> Row:
    """Of n things, none may be bad."""
    return verdict(what, f"0 of {n}" if n else "0", bad if n else None, bad == 0)


def at_least(what: str, floor: float, measured: float | None) -> Row:
    """A rate."""
    return verdict(what, f"> {floor}", measured, measured is not None and measured > floor)


def verdict(what: str, wanted: str, measured: float | None, holds: bool | None) -> Row:
    """One line."""
    if measured is None:
        return (what, wanted, "-", "not measured")
    return (what, wanted, f"{measured:.4g}", "yes" if holds else "**NO**")
