r"""The results of the samplers as a Markdown page.

Maps       the dictionary of evaluation.json  ->  Markdown; SAMPLERS.md in the model's folder
Tests      tests/evaluation/test_sampler_page.py
"""

from pathlib import Path
from typing import Any

from labml_sd.evaluation.convergence import COMPARED_AT, CURVES
from labml_sd.evaluation.report_texts import CONVERGENCE, GUIDANCE, SAMPLERS
from labml_sd.evaluation.results import measured_folder, write_text
from labml_sd.evaluation.tables import percent, sections_of, table

Json = dict[str, Any]

PAGE = "SAMPLERS.md"
SAMPLER_PARTS = frozenset(("convergence", "samplers"))
SHOWN_AT = (5, 10, 20, 40, 100)  # evaluations


def write_page(source: str, run: Path) -> Path:
    """Write the page into a model's folder. CheckpointError if the run is of another model."""
    folder, _, results = measured_folder(source, run, "the page of samplers")
    head = [
        f"# Samplers on the {results['model']['name']} model",
        f"Weights {results['model']['weights']}.",
    ]
    write_text(folder / PAGE, "\n\n".join([*head, *sampler_sections(results)]) + "\n")
    return folder / PAGE


def sampler_sections(results: Json) -> list[str]:
    """The sections of the parts that were measured."""
    return sections_of({"convergence": convergence, "samplers": samplers}, results["parts"])


def convergence(part: Json) -> list[str]:
    """Distances by number of evaluations, and by spacing at one number of evaluations."""
    rows, exact = part["rows"], part["exact"]
    found = {(r["sampler"], r["spacing"], r["meant"]): r["rms"] for r in rows}
    names = list(dict.fromkeys(r["sampler"] for r in rows))
    spacings = list(dict.fromkeys(r["spacing"] for r in rows))
    curves = [
        table(
            [f"spacing {s}", *(f"{n} evaluations" for n in SHOWN_AT)],
            [[name, *(_rms(found.get((name, s, n))) for n in SHOWN_AT)] for name in names],
        )
        for s in CURVES
    ]
    by_spacing = [
        [name, *(_rms(found.get((name, s, COMPARED_AT))) for s in spacings)] for name in names
    ]
    text = CONVERGENCE.format(
        n_prompts=part["n_prompts"],
        scale=_scale(part),
        dtype=part["dtype"],
        exact=exact["sampler"],
        steps=exact["steps"],
        size=f"{exact['rms']:.2f}",
        check=part["check"]["sampler"],
        check_steps=part["check"]["steps"],
        apart=_rms(part["check"]["rms"]),
    )
    return [
        "## Distance to the exact solution",
        *curves,
        text,
        table([f"at {COMPARED_AT} evaluations", *spacings], by_spacing),
        _ratios(found, spacings),
    ]


def _ratios(found: dict[tuple[str, str, int], float], spacings: list[str]) -> str:
    """The error of DPM++ 2M divided by that of DDIM."""
    n = COMPARED_AT
    ratios = {s: found["dpmpp_2m", s, n] / found["ddim", s, n] for s in spacings}
    named = ", ".join(f"{ratio:.2f} ({spacing})" for spacing, ratio in ratios.items())
    return f"Error of `dpmpp_2m` divided by that of `ddim` at {n} evaluations: {named}."


def _rms(distance: float | None) -> str:
    return "-" if distance is None else f"{distance:.2g}"


def samplers(part: Json) -> list[str]:
    """Every sampler at every step count, and the variants of guidance."""
    grid = part["rows"]["grid"]
    counts = sorted({row["steps"] for row in grid})
    names = list(dict.fromkeys(row["sampler"] for row in grid))
    found = {(row["sampler"], row["steps"]): row for row in grid}
    texts = ["## Accuracy by sampler and steps"]
    for share, title in (
        ("mean", "mean of the attributes"),
        ("whole", "all attributes right"),
    ):
        head = [title, *(f"{n} steps" for n in counts)]
        texts.append(
            table(head, [[n, *(percent(found[n, c][share]) for c in counts)] for n in names])
        )
    texts.append(
        SAMPLERS.format(n_prompts=part["n_prompts"], scale=_scale(part), dtype=part["dtype"])
    )
    return [*texts, *guidance(part)]


def guidance(part: Json) -> list[str]:
    """Rescale, interval, and scale 1 with and without the unconditional pass."""
    measured = part["rows"]["guidance"]
    rows = [
        [name, percent(row["mean"]), percent(row["whole"]), *_diversity(row),
         f"{row['passes']:g}", f"{1000 * row['seconds']:.0f}"]
        for name, row in measured.items()
    ]  # fmt: skip
    by_code = ["drawn by code", "-", "-", *_diversity(part["drawn by code"]), "-", "-"]
    head = ["guidance", "mean", "whole", "entropy, bits", "contrast", "passes"]
    head += ["ms of processor time"]
    low, high = next(filter(None, (row["guidance_interval"] for row in measured.values())))
    counts = {name: part[name] for name in ("n_prompts", "n_open")}
    return [
        "## Variants of guidance",
        table(head, [*rows, by_code]),
        GUIDANCE.format(**counts, low=low, high=high),
    ]


def _diversity(row: Json) -> list[str]:
    return [f"{row['entropy']:.2f}", f"{row['contrast']:.1f}"]


def _scale(part: Json) -> str:
    return f"{part['settings']['guidance_scale']:g}"
