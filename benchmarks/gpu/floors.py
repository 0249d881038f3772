"""What the run must show: floors of speed, and what must not happen even once."""

from collections.abc import Iterable, Sequence

from gpu.tables import Finding, Row

OURS = ("labml_sd", "labml_sd compiled")


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
    offloaded = [one for one in found if one["finding"] == "offload"]
    changed = sum(not one["same_image"] for one in offloaded)
    tests = [one for one in found if one["finding"] == "tests"]
    failed = sum(one.get("failed", 0) for one in tests)
    return [
        none_of("cells in which diffusers is as fast", len(rivals), slower),
        none_of("loops that wait for the GPU", len(loops), waiting),
        none_of("failed tests", sum(one.get("passed", 0) for one in tests) + failed, failed),
        none_of("images that offloading changes", len(offloaded), changed),
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
