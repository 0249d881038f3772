r"""The results of an evaluation as a Markdown text.

Maps       the dictionary of evaluation.json  ->  Markdown
Tests      tests/evaluation/test_report.py
"""

from typing import Any

from labml_sd.evaluation.compare_attributes import ROWS
from labml_sd.evaluation.draw_and_read import SEED
from labml_sd.evaluation.report_texts import (
    ACCURACY,
    CLIP,
    FRECHET,
    INPAINT,
    NEGATIVE,
    NO_CLIP,
    STRENGTH,
    SWEEPS,
)
from labml_sd.evaluation.sampler_page import sampler_sections
from labml_sd.evaluation.tables import percent, sections_of, table

Json = dict[str, Any]


def markdown(results: Json) -> str:
    """Everything that was measured, a section for each part."""
    model = results["model"]
    sections = [
        f"# What {model['name']} shows of what it is asked for",
        f"Weights {model['weights']}.",
    ]
    return "\n\n".join([*sections, *body(results), *sampler_sections(results)]) + "\n"


def body(results: Json) -> list[str]:
    """The sections of the model card, without a title."""
    makers = {"accuracy": accuracy, "sweeps": sweeps, "edits": edits, "precision": precision}
    return sections_of(makers, results["parts"])


def accuracy(part: Json) -> list[str]:
    """Attributes, the autoencoder, the distance, the CLIP score."""
    trip, far = part["autoencoder"], part["frechet"]
    columns = part["groups"] | {
        name: trip[name] for name in ("drawn by code", "after the autoencoder")
    }
    rows = [
        [name, *(percent(shares.get(name)) for shares in columns.values())] for name in ROWS
    ]
    return [
        "## How often it is right",
        f"{part['n_prompts']} prompts of each kind (scenes of seed {SEED}), {_settings(part)}.",
        table(["", *columns], rows),
        ACCURACY,
        f"Autoencoder: PSNR {trip['psnr']:.2f} dB, the mean over {part['n_prompts']} fresh scenes; "
        f"{trip['psnr_pooled']:.2f} dB of their mean square error.",
        f"Fréchet distance: {far['distance']:.3f}; drawn scenes instead of the model's pictures: "
        f"{far['floor']:.3f}. "
        + FRECHET.format(n_axes=far["n_axes"], n_pictures=far["n_pictures"]),
        *_clip(part["clip"]),
    ]


def _clip(scores: Json | None) -> list[str]:
    if scores is None:
        return [NO_CLIP]
    head = ["CLIP score", "its own caption", "another caption"]
    rows = []
    for group, by in scores.items():
        for who, name in (("model", group), ("code", f"{group}, drawn by code")):
            s = by[who]
            rows.append(
                [name, f"{s['own']:.3f} ± {1.96 * s['error']:.3f}", f"{s['other']:.3f}"]
            )
    return [table(head, rows), CLIP]


def sweeps(part: Json) -> list[str]:
    """A table for each thing that is varied."""
    texts = ["## Guidance, steps and samplers"]
    varied = {"guidance": "guidance_scale", "steps": "steps", "sampler": "sampler"}
    for name, key in varied.items():
        head = [name, "mean", "whole"]
        rows = [
            [_value(row[key]), percent(row["mean"]), percent(row["whole"])]
            for row in part["rows"][name]
        ]
        if name == "guidance":
            head += ["distance", "entropy, bits"]
            rows = [
                [*row, *_diverse(data)]
                for row, data in zip(rows, part["rows"][name], strict=True)
            ]
            rows.append(["drawn by code", "-", "-", *_diverse(part["drawn by code"])])
        texts.append(table(head, rows))
    counts = {
        "n_prompts": part["n_prompts"],
        "n_open": part["n_open"],
        "settings": _settings(part),
    }
    return [*texts, SWEEPS.format(**counts)]


def _diverse(row: Json) -> list[str]:
    return [f"{row['distance']:.2f}", f"{row['entropy']:.2f}"]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def edits(part: Json) -> list[str]:
    """Negative prompts, strengths, in-painting."""
    return [
        "## Edits",
        f"With {_settings(part)}.",
        *_negative(part["negative"]),
        *_strength(part["strength"]),
        *_inpaint(part["inpaint"]),
    ]


def _negative(data: Json) -> list[str]:
    rows = [
        [
            f"the {light}",
            name,
            percent(data[light][name]["shown"]),
            percent(data[light][name]["others"]),
        ]
        for light in data
        if light != "n_prompts"
        for name in ("without", "with")
    ]
    head = ["negative prompt", "", "pictures that show it", "all else as asked"]
    return ["### Negative prompt", table(head, rows), NEGATIVE.format(n=data["n_prompts"])]


def _strength(data: Json) -> list[str]:
    rows = [
        [
            f"{row['strength']:g}",
            percent(row["kept"]),
            percent(row["shown"]),
            f"{row['rms']:.1f}",
        ]
        for row in data["rows"]
    ]
    head = [
        "strength",
        "of the picture kept",
        "of the prompt shown",
        "pixels moved (RMS, grey levels)",
    ]
    back = data["setbacks"]
    told = {name: f"{100 * back[name]:.1f}" for name in ("kept", "shown")} | {
        "rms": f"{back['rms']:.1f}"
    }
    return [
        "### Image to image",
        table(head, rows),
        STRENGTH.format(n=data["n_pictures"], **told),
    ]


def _inpaint(data: Json) -> list[str]:
    rows = [
        [name, percent(data[key])]
        for name, key in (("kind", "kind"), ("colour", "colour"), ("both", "both"))
    ]
    seam = [[name, f"{jump:.2f}"] for name, jump in data["seam"].items()]
    told = INPAINT.format(n=data["n_cases"], masked=f"{100 * data['masked']:.0f}")
    tables = [
        table(["asked for, and there", "share"], rows),
        table(["seam", "grey levels"], seam),
    ]
    return ["### In-painting", *tables, told]


def precision(part: Json) -> list[str]:
    """PSNR of the narrow types."""
    rows = [
        [name, f"{row['psnr']:.1f}", f"{row['worst']:.1f}"]
        for name, row in part["rows"].items()
    ]
    head = ["", "PSNR against float32, dB", "the worst picture, dB"]
    told = f"{part['n_prompts']} prompts, {_settings(part, in_dtype=False)}, the same noise."
    return ["## Narrow number formats", table(head, rows), told]


def _settings(part: Json, in_dtype: bool = True) -> str:
    s = part["settings"]
    text = f"{s['steps']} steps of {s['sampler']}, guidance {s['guidance_scale']:g}"
    return f"{text}, in {part['dtype']}" if in_dtype else text
