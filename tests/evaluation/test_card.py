import re

import pytest
import torch

import labml_sd.evaluation.card as card_module
from labml_sd.checkpoint import load_model, save_model
from labml_sd.errors import CheckpointError
from labml_sd.evaluation.card import CARD, PAGE, write_card, write_page
from labml_sd.evaluation.compare_attributes import ROWS, share
from labml_sd.evaluation.results import FILE, fingerprint, write_results

SHARES = dict.fromkeys(ROWS, share([0.95] * 100))
ABOUT = {
    "settings": {"steps": 20, "sampler": "ddim", "guidance_scale": 3.0},
    "dtype": "float32",
    "machine": "an abacus",
    "seconds": 600.0,
}
ACCURACY = ABOUT | {
    "n_prompts": 100,
    "groups": {
        "one object": SHARES,
        "two objects": SHARES | {"colour": share([0.57] * 100)},
    },
    "autoencoder": {
        "drawn by code": SHARES,
        "after the autoencoder": SHARES,
        "psnr": 31.416,
        "psnr_pooled": 31.25,
    },
    "frechet": {"distance": 2.718, "floor": 0.123, "n_axes": 16, "n_pictures": 200},
    "clip": None,
}


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    save_model(model, folder, layout="diffusers")
    return folder


@pytest.fixture
def run(folder, tmp_path):
    about = {
        "name": "small",
        "weights": fingerprint(load_model(folder, device="cpu", dtype="float32")),
    }
    write_results(tmp_path, {"format": 1, "model": about, "parts": {"accuracy": ACCURACY}})
    curve = [{"step": float(i), "loss": float(i), "psnr": 30.0 + i} for i in range(20)]
    stage = {
        "format": 1,
        "step": 1234,
        "curve": curve,
        "seconds": 1800.0,
        "machines": ["a slide rule"],
        "seed": 3,
    }
    torch.save(stage, tmp_path / "autoencoder.pt")
    return tmp_path


def card(folder, recipe, run) -> str:
    return write_card(str(folder), recipe, run).read_text(encoding="utf-8")


def test_every_figure_comes_from_the_files(folder, run, small_recipe, model):
    text = card(folder, small_recipe, run)
    for figure in (
        "31.42 dB",
        "| autoencoder | 1,234 | 30 minutes | loss 14.5, psnr 44.5 |",  # the means of 10 to 19
        "a slide rule, 0.5 hours in total",
        "an abacus | 10 minutes",
        "`labml-sd train --recipe small --seed 3`",
        f"| U-Net | {sum(p.numel() for p in model.unet.parameters()):,} |",
        "- one object: none\n- two objects: colour (57%)",
        "purple car, green cat",
        "MIT license".replace("license", "licence"),
    ):
        assert figure in text
    assert not re.search(r"\$\w|\{|\}", text)


def test_the_sections_of_the_report_stand_one_level_down(folder, run, small_recipe):
    headings = [
        line for line in card(folder, small_recipe, run).splitlines() if line.startswith("#")
    ]
    assert headings[0] == "# The small model" and "### Accuracy by attribute" in headings
    assert sum(line.startswith("# ") for line in headings) == 1


def test_a_run_that_continued_a_model_says_so(folder, run, small_recipe):
    (run / "autoencoder.pt").rename(run / "decoder.pt")
    text = card(folder, small_recipe, run)
    assert "`labml-sd train decoder --init MODEL --recipe small --seed 3`" in text
    assert "| decoder | 1,234 |" in text


def test_missing_times_are_shown_as_not_recorded(folder, run, small_recipe):
    torch.save({"format": 1, "step": 5, "curve": []}, run / "clip.pt")
    text = card(folder, small_recipe, run)
    assert "| clip | 5 | not recorded |" in text and "hours in total" not in text


def test_results_of_other_weights_are_refused(folder, run, small_recipe):
    write_results(run, {"format": 1, "model": {"name": "small", "weights": "0"}, "parts": {}})
    with pytest.raises(CheckpointError, match="measured on other weights") as caught:
        write_card(str(folder), small_recipe, run)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="measured on other weights"):
        write_page(str(folder), run)


def test_the_page_of_samplers_names_the_weights_and_has_no_other_part(folder, run):
    assert write_page(str(folder), run) == folder / PAGE
    weights = fingerprint(load_model(folder, device="cpu", dtype="float32"))
    text = (folder / PAGE).read_text(encoding="utf-8")
    assert text == f"# Samplers on the small model\n\nWeights {weights}.\n"


def test_without_results_or_a_folder_there_is_a_one_line_error(
    folder, run, small_recipe, tmp_path
):
    with pytest.raises(CheckpointError, match="not a folder"):
        write_card(str(run / FILE), small_recipe, run)
    (run / FILE).unlink()
    with pytest.raises(CheckpointError, match="evaluate"):
        write_card(str(folder), small_recipe, run)


def test_the_card_lies_in_the_folder_of_the_model(folder, run, small_recipe):
    assert write_card(str(folder), small_recipe, run) == folder / CARD


def test_the_notes_of_a_run_are_optional(folder, run, small_recipe):
    without = card(folder, small_recipe, run)
    (run / "notes.md").write_text("The dog ate step 7.\n", encoding="utf-8")
    assert card(folder, small_recipe, run).replace("\nThe dog ate step 7.\n", "") == without


def test_the_stages_of_another_run_are_refused(folder, run, small_recipe, monkeypatch):
    (run / "model.json").write_text("{}", encoding="utf-8")
    made = load_model(folder, device="cpu", dtype="float32")
    monkeypatch.setattr(
        made, "half", lambda: made
    )  # this folder is in float32; those of a run are not
    monkeypatch.setattr(card_module, "assemble", lambda recipe, run, init: made)
    card(folder, small_recipe, run)
    torch.nn.init.ones_(made.autoencoder.quant_conv.bias)
    with pytest.raises(CheckpointError, match="its checkpoints make other weights"):
        write_card(str(folder), small_recipe, run)
