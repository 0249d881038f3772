r"""The results of an evaluation as Markdown: the numbers, filled into templates/*.md.

Maps       the dictionary of evaluation.json  ->  Markdown
Tests      tests/evaluation/test_report.py
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from labml_sd.evaluation.compare_attributes import ROWS
from labml_sd.evaluation.convergence import COMPARED_AT, CURVES
from labml_sd.evaluation.draw_and_read import SEED

Json = dict[str, Any]

SHOWN_AT = (5, 10, 20, 40, 100)  # evaluations
CLIP = """\
Mean cosine between picture and caption, by both towers of the CLIP of this training run (±
1.96 standard errors). *another caption*: the caption of the next scene, as a baseline."""
NO_CLIP = """\
No CLIP score: it needs `clip.pt` of a training run in `--outdir`. A saved model has no image
tower."""


def markdown(results: Json, title: str = "Evaluation of", parts: Iterable[str] = ()) -> str:
    """A page about the named parts, or all, with a section for each that was measured."""
    model = results["model"]
    head = [f"# {title} the {model['name']} model", f"Weights {model['weights']}."]
    return "\n\n".join([*head, *sections(results, parts)]) + "\n"


def sections(results: Json, names: Iterable[str] = ()) -> list[str]:
    """The section of each part that was measured, of the named parts or all."""
    parts = results["parts"]
    measured = [name for name in tuple(names) or TABLES if name in parts]
    return [filled(name, parts[name] | TABLES[name](parts[name])) for name in measured]


def filled(name: str, values: Json) -> str:
    """A template with its `{names}` replaced by values. KeyError if one is missing."""
    path = Path(__file__).parent / "templates" / f"{name}.md"
    return path.read_text(encoding="utf-8").strip().format_map(values)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: Json | None) -> str:
    """A share and its interval in percent; a dash for None."""
    if share is None:
        return "-"
    return f"{100 * share['mean']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def _accuracy(part: Json) -> Json:
    """Attributes, autoencoder, Frechet distance, CLIP score."""
    trip = part["autoencoder"]
    columns = part["groups"] | {
        name: trip[name] for name in ("drawn by code", "after the autoencoder")
    }
    rows = [
        [name, *(percent(column.get(name)) for column in columns.values())] for name in ROWS
    ]
    attributes = table(["", *columns], rows)
    return {"seed": SEED, "attributes": attributes, "clip_score": _clip(part["clip"])}


def _clip(scores: Json | None) -> str:
    if scores is None:
        return NO_CLIP
    rows = [
        [f"{group}{note}", f"{s['own']:.3f} ± {1.96 * s['error']:.3f}", f"{s['other']:.3f}"]
        for group, by in scores.items()
        for s, note in ((by["model"], ""), (by["code"], ", drawn by code"))
    ]
    return table(["CLIP score", "own caption", "another caption"], rows) + "\n\n" + CLIP


def _sweeps(part: Json) -> Json:
    """A table for each setting that is varied."""
    tables = {}
    for name, key, form in (
        ("guidance", "guidance_scale", "g"),
        ("steps", "steps", "d"),
        ("sampler", "sampler", "s"),
    ):
        head = [name, "mean", "whole"]
        rows = [
            [f"{row[key]:{form}}", percent(row["mean"]), percent(row["whole"])]
            for row in part["rows"][name]
        ]
        if name == "guidance":
            head += ["distance", "entropy, bits"]
            rows.append(["drawn by code", "-", "-"])
            for line, row in zip(
                rows, [*part["rows"][name], part["drawn by code"]], strict=True
            ):
                line += [f"{row['distance']:.2f}", f"{row['entropy']:.2f}"]
        tables[name] = table(head, rows)
    return tables


def _edits(part: Json) -> Json:
    """Negative prompts, image to image, in-painting."""
    negative, strength, inpaint = part["negative"], part["strength"], part["inpaint"]
    falls = strength["setbacks"]
    lights = [
        [f"the {light}", name, percent(row["shown"]), percent(row["others"])]
        for light in negative
        if light != "n_prompts"
        for name, row in negative[light].items()
    ]
    strengths = [
        [f"{s['strength']:g}", percent(s["kept"]), percent(s["shown"]), f"{s['rms']:.1f}"]
        for s in strength["rows"]
    ]
    half = inpaint["half"]
    rows = {"kind": "kind", "colour": "colour", "both": "both", "mean": "whole scene (mean)"}
    shares = [
        [title, percent(inpaint[name]), percent(half[name])] for name, title in rows.items()
    ]
    seam = [
        [name, *(f"{x['seam'][name]:.2f}" for x in (inpaint, half))] for name in inpaint["seam"]
    ]
    shown = ["negative prompt", "", "pictures that show it", "other attributes right"]
    kept = ["strength", "picture kept", "prompt shown", "change (RMS, grey levels)"]
    return {
        "lights": table(shown, lights),
        "strengths": table(kept, strengths),
        "kept": f"{100 * falls['kept']:.1f}",
        "shown": f"{100 * falls['shown']:.1f}",
        "shares": table(["right", "box", "half of the picture"], shares),
        "seam": table(["seam, grey levels", "box", "half of the picture"], seam),
    }


def _precision(part: Json) -> Json:
    """PSNR of pictures in float16 and bfloat16."""
    rows = [
        [name, f"{row['psnr']:.1f}", f"{row['worst']:.1f}"]
        for name, row in part["rows"].items()
    ]
    return {"psnr": table(["", "PSNR against float32, dB", "worst picture, dB"], rows)}


def _convergence(part: Json) -> Json:
    """Distances by number of evaluations, and by spacing at one number of evaluations."""
    found = {(r["sampler"], r["spacing"], r["meant"]): r["rms"] for r in part["rows"]}
    names, spacings = (
        list(dict.fromkeys(r[k] for r in part["rows"])) for k in ("sampler", "spacing")
    )
    n = COMPARED_AT

    def distances(head: Sequence[str], keys: Sequence[tuple[str, int]]) -> str:
        rows = [[found.get((name, *key)) for key in keys] for name in names]
        cells = [["-" if rms is None else f"{rms:.2g}" for rms in row] for row in rows]
        return table(head, [[name, *row] for name, row in zip(names, cells, strict=True)])

    curves = [
        distances(
            [f"spacing {s}", *(f"{k} evaluations" for k in SHOWN_AT)],
            [(s, k) for k in SHOWN_AT],
        )
        for s in CURVES
    ]
    ratios = {s: found["dpmpp_2m", s, n] / found["ddim", s, n] for s in spacings}
    return {
        "curves": "\n\n".join(curves),
        "spacings": distances([f"at {n} evaluations", *spacings], [(s, n) for s in spacings]),
        "ratios": ", ".join(f"{ratio:.2f} ({spacing})" for spacing, ratio in ratios.items()),
        "n": n,
    }


def _samplers(part: Json) -> Json:
    """Every sampler at every step count, and the variants of guidance."""
    grid, guidance = part["rows"]["grid"], part["rows"]["guidance"]
    counts = sorted({row["steps"] for row in grid})
    names = list(dict.fromkeys(row["sampler"] for row in grid))
    found = {(row["sampler"], row["steps"]): row for row in grid}

    def shares(key: str, title: str) -> str:
        rows = [[name, *(percent(found[name, n][key]) for n in counts)] for name in names]
        return table([title, *(f"{n} steps" for n in counts)], rows)

    variants = [
        [name, percent(row["mean"]), percent(row["whole"]), *_diversity(row),
         f"{row['passes']:g}", f"{1000 * row['seconds']:.0f}"]
        for name, row in guidance.items()
    ]  # fmt: skip
    variants.append(["drawn by code", "-", "-", *_diversity(part["drawn by code"]), "-", "-"])
    head = ["guidance", "mean", "whole", "entropy, bits", "contrast", "passes"]
    return {
        "mean": shares("mean", "mean of the attributes"),
        "whole": shares("whole", "all attributes right"),
        "guidance": table([*head, "ms of processor time"], variants),
        "interval": next(filter(None, (r["guidance_interval"] for r in guidance.values()))),
    }


def _diversity(row: Json) -> list[str]:
    return [f"{row['entropy']:.2f}", f"{row['contrast']:.1f}"]


TABLES: dict[str, Callable[[Json], Json]] = {
    "accuracy": _accuracy,
    "sweeps": _sweeps,
    "edits": _edits,
    "precision": _precision,
    "convergence": _convergence,
    "samplers": _samplers,
}
"""For each part of the evaluation, the tables of its template."""
