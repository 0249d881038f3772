import pytest

from labml_sd.evaluation.compare_attributes import ROWS, share
from labml_sd.evaluation.convergence import COMPARED_AT, CURVES, EVALUATIONS, ODE, SPACINGS
from labml_sd.evaluation.report import markdown, percent, table

HALF = share([0.5] * 8)
SETTINGS = {
    "settings": {"steps": 7, "sampler": "ddim", "guidance_scale": 2.5},
    "dtype": "float32",
}
ROW = {
    "mean": HALF,
    "whole": HALF,
    "distance": 1.234,
    "entropy": 0.567,
    "contrast": 55.55,
    "passes": 34.0,
    "seconds": 0.0123,
    "guidance_interval": None,
}
SHARES = dict.fromkeys(ROWS, HALF)
ACCURACY = SETTINGS | {
    "n_prompts": 8,
    "groups": {
        "one object": {k: v for k, v in SHARES.items() if k != "binding"},
        "two objects": SHARES,
    },
    "autoencoder": {
        "drawn by code": SHARES,
        "after the autoencoder": SHARES,
        "psnr": 31.416,
        "psnr_pooled": 31.25,
    },
    "frechet": {"distance": 2.718, "floor": 0.123, "n_axes": 16, "n_pictures": 16},
    "clip": {
        "one object": {
            who: {"own": 0.71, "other": 0.13, "error": 0.05} for who in ("model", "code")
        }
    },
}
SWEEPS = SETTINGS | {
    "n_prompts": 5,
    "n_open": 3,
    "rows": {
        "guidance": [ROW | {"guidance_scale": 8.0}],
        "steps": [ROW | {"steps": 50}],
        "sampler": [ROW | {"sampler": "heun"}],
    },
    "drawn by code": ROW,
}
LIGHT = {name: {"shown": HALF, "others": HALF} for name in ("without", "with")}
REPAINTED = {
    "n_cases": 9,
    "kind": HALF,
    "colour": HALF,
    "both": HALF,
    "mean": HALF,
    "masked": 0.123,
    "seam": {"painted": 6.0, "round trip": 3.21, "drawn by code": 4.0},
}
EDITS = SETTINGS | {
    "negative": {"n_prompts": 4, "moon": LIGHT, "sun": LIGHT},
    "strength": {
        "n_pictures": 3,
        "rows": [{"strength": 0.1, "kept": HALF, "shown": HALF, "rms": 12.34}],
        "setbacks": {"kept": 0.021, "shown": 0.0, "rms": 1.5},
    },
    "inpaint": REPAINTED | {"half": REPAINTED | {"masked": 0.5}},
}
PRECISION = SETTINGS | {"n_prompts": 2, "rows": {"float16": {"psnr": 51.23, "worst": 48.88}}}
SAMPLERS = SETTINGS | {
    "dtype": "bfloat16",
    "n_prompts": 8,
    "n_open": 3,
    "rows": {
        "grid": [
            ROW | {"sampler": name, "steps": n} for n in (5, 10) for name in ("ddim", "heun")
        ],
        "guidance": {"3": ROW, "3, interval": ROW | {"guidance_interval": [0.25, 6.5]}},
    },
    "drawn by code": {"entropy": 2.0, "contrast": 56.78},
}


def distances(name):
    """Of dpmpp_2m a tenth of the others'."""
    counts = {s: EVALUATIONS if s in CURVES else (COMPARED_AT,) for s in SPACINGS}
    size = 0.1 if name == "dpmpp_2m" else 1.0
    return [
        {"sampler": name, "spacing": s, "meant": n, "evaluations": n, "rms": size / n}
        for s, ns in counts.items()
        for n in ns
    ]


CONVERGENCE = SETTINGS | {
    "n_prompts": 6,
    "exact": {"sampler": "dpmpp_2m", "steps": 777, "rms": 0.987},
    "check": {"sampler": "unipc", "steps": 333, "rms": 0.00123},
    "rows": [row for name in ODE for row in distances(name)],
}
PARTS = {
    "accuracy": ACCURACY,
    "sweeps": SWEEPS,
    "edits": EDITS,
    "precision": PRECISION,
    "convergence": CONVERGENCE,
    "samplers": SAMPLERS,
}


def text_of(*names: str) -> str:
    parts = {name: PARTS[name] for name in names}
    return markdown({"model": {"name": "small", "weights": "abc"}, "parts": parts})


def test_only_what_was_measured_is_reported():
    assert "PSNR against float32" in text_of("precision") and "Autoencoder" not in text_of(
        "precision"
    )
    assert text_of().startswith("# Evaluation of the small model\n\nWeights abc.")


def test_every_table_has_as_many_cells_in_each_row():
    blocks = [block for block in text_of(*PARTS).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 16
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        (
            "accuracy",
            ["31.42 dB", "2.718", "0.123", "16 principal axes", "0.710 ± 0.098", "0.130"],
        ),
        (
            "sweeps",
            ["| 8 |", "| 50 |", "| heun |", "1.23", "0.57", "over 5 prompts", "on 3 pictures"],
        ),
        (
            "edits",
            [
                "the moon",
                "the sun",
                "| 0.1 |",
                "12.3",
                "kept 2.1",
                "1.5 grey",
                "12% of",
                "9 drawn",
            ],
        ),
        (
            "edits",
            [
                "| painted | 6.00 |",
                "| round trip | 3.21 |",
                "7 steps of ddim, guidance 2.5, in float32",
            ],
        ),
        ("precision", ["| float16 | 51.2 | 48.9 |"]),
        (
            "samplers",
            ["| ddim | 50.0 (21.5 to 78.5) | 50.0", "| heun |", "5 steps", "10 steps"],
        ),
        (
            "samplers",
            ["8 prompts", "guidance 2.5, in bfloat16", "0.25 and 6.5", "3 pictures", "56.8"],
        ),
        ("samplers", ["| 0.57 | 55.5 | 34 | 12 |"]),
        (
            "convergence",
            ["777 steps", "333 steps", "0.99", "0.0012", "6 prompts", "| 0.2 | 0.1 | 0.05 |"],
        ),
        (
            "convergence",
            ["0.10 (trailing), 0.10 (karras)", "guidance 2.5", "spacing trailing", "| unipc |"],
        ),
    ],
)
def test_every_figure_is_printed(part, figures):
    text = " ".join(text_of(part).split())
    assert [figure for figure in figures if figure not in text] == []
    assert "{" not in text and "$" not in text


def test_a_page_may_have_only_the_named_parts():
    page = markdown(
        {"model": {"name": "s", "weights": "a"}, "parts": PARTS}, "On", ["samplers"]
    )
    assert page.startswith("# On the s model\n") and "Accuracy by sampler" in page
    assert "Autoencoder" not in page


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_share_is_in_percent_with_its_interval():
    assert percent(share([0.5] * 100)) == "50.0 (40.4 to 59.6)"
    assert percent(None) == "-"


def test_all_rows_are_there_and_a_row_without_a_value_is_a_dash():
    lines = text_of("accuracy").splitlines()
    assert [
        line.split("|")[1].strip() for line in lines if "50.0" in line and "±" not in line
    ] == list(ROWS)
    assert (
        next(line for line in lines if line.startswith("| binding")).split("|")[2].strip()
        == "-"
    )


def test_without_clip_the_report_says_what_is_missing():
    text = markdown(
        {
            "model": {"name": "s", "weights": "a"},
            "parts": {"accuracy": ACCURACY | {"clip": None}},
        }
    )
    assert "No CLIP score: it needs `clip.pt`" in text
