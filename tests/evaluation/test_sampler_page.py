import pytest

from labml_sd.checkpoint import load_model, save_model
from labml_sd.errors import CheckpointError
from labml_sd.evaluation.compare_attributes import Share
from labml_sd.evaluation.convergence import COMPARED_AT, CURVES, EVALUATIONS, ODE, SPACINGS
from labml_sd.evaluation.results import FILE, fingerprint, write_results
from labml_sd.evaluation.sampler_page import PAGE, sampler_sections, write_page

SETTINGS = {
    "settings": {"steps": 20, "sampler": "ddim", "guidance_scale": 2.5},
    "dtype": "bfloat16",
}
SHARE = Share(0.5, 8).as_data()
ROW = {
    "mean": SHARE,
    "whole": SHARE,
    "passes": 34.0,
    "seconds": 0.0123,
    "guidance_interval": None,
}
LOOKS = {"entropy": 1.234, "contrast": 55.55}
SAMPLERS = SETTINGS | {
    "n_prompts": 8,
    "n_open": 3,
    "rows": {
        "grid": [
            ROW | {"sampler": name, "steps": n} for n in (5, 10) for name in ("ddim", "heun")
        ],
        "guidance": {
            "3": ROW | LOOKS,
            "3, interval": ROW | LOOKS | {"guidance_interval": [0.25, 6.5]},
        },
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
PARTS = {"samplers": SAMPLERS, "convergence": CONVERGENCE}


def text_of(*names):
    return "\n\n".join(sampler_sections({"parts": {name: PARTS[name] for name in names}}))


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        (
            "samplers",
            [
                "| ddim | 50.0 (21.5 to 78.5) | 50.0",
                "| heun |",
                "5 steps",
                "10 steps",
                "8 prompts",
            ],
        ),
        (
            "samplers",
            ["guidance 2.5, in bfloat16", "0.25 and 6.5", "3 pictures", "| 34 | 12 |", "56.8"],
        ),
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
    assert "{" not in text


def test_every_table_has_as_many_cells_in_each_row():
    blocks = [block for block in text_of(*PARTS).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 6
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_only_what_was_measured_is_on_the_page():
    assert "Accuracy by sampler" not in text_of("convergence") and text_of() == ""


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    save_model(model, folder, layout="diffusers")
    return folder


def test_the_page_lies_in_the_folder_of_the_model_and_names_its_weights(folder, tmp_path):
    weights = fingerprint(load_model(folder, device="cpu", dtype="float32"))
    write_results(
        tmp_path, {"format": 1, "model": {"name": "small", "weights": weights}, "parts": PARTS}
    )
    assert write_page(str(folder), tmp_path) == folder / PAGE
    text = (folder / PAGE).read_text(encoding="utf-8")
    assert (
        text.startswith("# Samplers on the small model\n")
        and weights in text
        and text_of(*PARTS) in text
    )


def test_results_of_other_weights_or_no_folder_are_refused_in_one_line(folder, tmp_path):
    write_results(
        tmp_path, {"format": 1, "model": {"name": "small", "weights": "0"}, "parts": PARTS}
    )
    for source, told in (
        (folder, "measured on other weights"),
        (tmp_path / FILE, "not a folder"),
    ):
        with pytest.raises(CheckpointError, match=told) as caught:
            write_page(str(source), tmp_path)
        assert "\n" not in str(caught.value)
