r"""The results of an evaluation as Markdown.

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
    """The whole report, a section for each part that was measured."""
    model = results["model"]
    sections = [
        f"# Evaluation of the {model['name']} model",
        f"Weights {model['weights']}.",
    ]
    return "\n\n".join([*sections, *body(results), *sampler_sections(results)]) + "\n"


def body(results: Json) -> list[str]:
    """The sections that the model card contains too."""
    makers = {"accuracy": accuracy, "sweeps": sweeps, "edits": edits, "precision": precision}
    return sections_of(makers, results["parts"])


def accuracy(part: Json) -> list[str]:
    """Attributes, autoencoder, Frechet distance, CLIP score."""
    n, trip, frechet = part["n_prompts"], part["autoencoder"], part["frechet"]
    columns = part["groups"] | {
        name: trip[name] for name in ("drawn by code", "after the autoencoder")
    }
    rows = [
        [name, *(percent(shares.get(name)) for shares in columns.values())] for name in ROWS
    ]
    return [
        "## Accuracy by attribute",
        f"{n} prompts of each kind (scenes of seed {SEED}), {_settings(part)}.",
        table(["", *columns], rows),
        ACCURACY,
        f"Autoencoder: PSNR {trip['psnr']:.2f} dB, the mean over {n} new scenes; "
        f"{trip['psnr_pooled']:.2f} dB from their mean square error.",
        f"Fréchet distance: {frechet['distance']:.3f}, for scenes drawn by code "
        f"{frechet['floor']:.3f}. {FRECHET.format(**frechet)}",
        *_clip(part["clip"]),
    ]


def _clip(scores: Json | None) -> list[str]:
    if scores is None:
        return [NO_CLIP]
    head = ["CLIP score", "own caption", "another caption"]
    rows = []
    for group, by in scores.items():
        for source, name in (("model", group), ("code", f"{group}, drawn by code")):
            s = by[source]
            rows.append(
                [name, f"{s['own']:.3f} ± {1.96 * s['error']:.3f}", f"{s['other']:.3f}"]
            )
    return [table(head, rows), CLIP]


def sweeps(part: Json) -> list[str]:
    """A table for each setting that is varied."""
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
                [*row, *_diversity(data)]
                for row, data in zip(rows, part["rows"][name], strict=True)
            ]
            rows.append(["drawn by code", "-", "-", *_diversity(part["drawn by code"])])
        texts.append(table(head, rows))
    about = {name: part[name] for name in ("n_prompts", "n_open")}
    return [*texts, SWEEPS.format(**about, settings=_settings(part))]


def _diversity(row: Json) -> list[str]:
    return [f"{row['distance']:.2f}", f"{row['entropy']:.2f}"]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def edits(part: Json) -> list[str]:
    """Negative prompts, image to image, in-painting."""
    return [
        "## Edits",
        f"With {_settings(part)}.",
        *_negative(part["negative"]),
        *_strength(part["strength"]),
        *_inpaint(part["inpaint"]),
    ]


def _negative(data: Json) -> list[str]:
    rows = [
        [f"the {light}", name, percent(row["shown"]), percent(row["others"])]
        for light in data
        if light != "n_prompts"
        for name in ("without", "with")
        for row in [data[light][name]]
    ]
    head = ["negative prompt", "", "pictures that show it", "other attributes right"]
    return ["### Negative prompt", table(head, rows), NEGATIVE.format(n=data["n_prompts"])]


def _strength(data: Json) -> list[str]:
    rows = [
        [f"{s['strength']:g}", percent(s["kept"]), percent(s["shown"]), f"{s['rms']:.1f}"]
        for s in data["rows"]
    ]
    head = ["strength", "picture kept", "prompt shown", "change (RMS, grey levels)"]
    points = {name: f"{100 * data['setbacks'][name]:.1f}" for name in ("kept", "shown")}
    text = STRENGTH.format(n=data["n_pictures"], **points, rms=f"{data['setbacks']['rms']:.1f}")
    return ["### Image to image", table(head, rows), text]


def _inpaint(data: Json) -> list[str]:
    rows = [[name, percent(data[name])] for name in ("kind", "colour", "both")]
    seam = [[name, f"{jump:.2f}"] for name, jump in data["seam"].items()]
    tables = [table(["right", "share"], rows), table(["seam", "grey levels"], seam)]
    text = INPAINT.format(n=data["n_cases"], masked=f"{100 * data['masked']:.0f}")
    return ["### In-painting", *tables, text]


def precision(part: Json) -> list[str]:
    """PSNR of pictures in float16 and bfloat16."""
    rows = [
        [name, f"{row['psnr']:.1f}", f"{row['worst']:.1f}"]
        for name, row in part["rows"].items()
    ]
    head = ["", "PSNR against float32, dB", "worst picture, dB"]
    text = (
        f"{part['n_prompts']} prompts, {_settings(part, in_dtype=False)}, with the same noise."
    )
    return ["## Number formats", table(head, rows), text]


def _settings(part: Json, in_dtype: bool = True) -> str:
    s = part["settings"]
    text = f"{s['steps']} steps of {s['sampler']}, guidance {s['guidance_scale']:g}"
    return f"{text}, in {part['dtype']}" if in_dtype else text
