r"""The pages in a model's folder: the model card, and the page of samplers.

Maps       a model, the folder of its run  ->  MODEL_CARD.md, SAMPLERS.md
Tests      tests/evaluation/test_card.py
"""

import re
from pathlib import Path
from statistics import fmean
from typing import Any

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.sources import locate
from labml_sd.errors import CheckpointError
from labml_sd.evaluation.report import filled, markdown, sections, table
from labml_sd.evaluation.results import FILE, fingerprint, read_results, write_text
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import COLOURS, GROUNDS, HELD_OUT, KINDS, PLACES, SIZES, SKIES
from labml_sd.training.run import read_state
from labml_sd.training.stages import CONFIG, STAGES, assemble

CARD, PAGE = "MODEL_CARD.md", "SAMPLERS.md"
CARD_PARTS = ("accuracy", "sweeps", "edits", "precision")
PAGE_PARTS = ("convergence", "samplers")
NOTES = "notes.md"  # in the run's folder: remarks on the run, written by hand
N_LAST = 10  # last entries of a curve, which are averaged for "at the end"
WEAK = 0.9  # attributes that are right less often are listed


def write_page(source: str, run: Path) -> Path:
    """Write the page of samplers into a model's folder.

    Raises CheckpointError if the run has no results, or measured another model.
    """
    folder, _, results = measured_folder(source, run, "the page of samplers")
    write_text(folder / PAGE, markdown(results, "Samplers on", PAGE_PARTS))
    return folder / PAGE


def write_card(source: str, recipe: Recipe, run: Path, init: str | None = None) -> Path:
    """Write the model card into a model's folder.

    `init` names the model that the run trained further. Raises CheckpointError if the run has
    no results, or made another model.
    """
    folder, model, results = measured_folder(source, run, "a model card")
    weights = results["model"]["weights"]
    start = load_model(init, device="cpu", dtype="float32") if init else None
    has_run = start is not None or (run / CONFIG).exists()
    if has_run and fingerprint(assemble(recipe, run, start).half()) != weights:
        raise CheckpointError(
            f"{run}: its checkpoints make other weights than {folder}; give its own run"
        )
    if "accuracy" not in results["parts"]:
        raise CheckpointError(
            f"{run / FILE}: has no accuracy; run labml-sd train evaluate --part accuracy"
        )
    write_text(folder / CARD, card_text(model, folder, recipe, run, results) + "\n")
    return folder / CARD


def measured_folder(
    source: str, run: Path, what: str
) -> tuple[Path, LatentDiffusion, dict[str, Any]]:
    """The folder of a saved model, the model, and the results that a run measured of it.

    `what` will be written into that folder. Raises CheckpointError if there is no folder or the
    results are of other weights.
    """
    folder = locate(source)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: not a folder; {what} needs the folder of a saved model"
        )
    results, model = read_results(run), load_model(source, device="cpu", dtype="float32")
    if results["model"]["weights"] != fingerprint(model):
        raise CheckpointError(
            f"{run / FILE}: measured on other weights than those of {folder}; run "
            f"labml-sd train evaluate --model {source} --outdir {run}"
        )
    return folder, model, results


def card_text(
    model: LatentDiffusion, folder: Path, recipe: Recipe, run: Path, results: dict[str, Any]
) -> str:
    """The filled template."""
    c = model.config
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    paths = {stage: run / f"{stage}.pt" for stage in STAGES}
    states = {stage: read_state(path) for stage, path in paths.items() if path.exists()}
    notes = (run / NOTES).read_text(encoding="utf-8") if (run / NOTES).exists() else ""
    body = "\n\n".join(sections(results, CARD_PARTS))
    measured = {k: part for k, part in results["parts"].items() if k not in PAGE_PARTS}
    return filled("model_card", {
        "config": c,
        "count": {
            name: sum(p.numel() for p in network.parameters())
            for name, network in model.named_children()
        },
        "widths": {
            name: ", ".join(str(part.channels * m) for m in part.channel_multipliers)
            for name, part in (("autoencoder", c.autoencoder), ("unet", c.unet))
        },
        "side": c.image_size // c.autoencoder.downsampling_factor,
        "megabytes": size / 1e6,
        "weights": results["model"]["weights"],
        "stages": _stages(states),
        "notes": f"\n{notes.strip()}\n" if notes else "",
        "training": _training(recipe, states),
        "evaluation": table(
            ["part", "measured on", "time"],
            [[k, part["machine"], _duration(part["seconds"])] for k, part in measured.items()],
        ),
        "results": re.sub("^#", "##", body, flags=re.MULTILINE),  # one level down
        "weak": _weak(results["parts"]["accuracy"]["groups"]),
        "held_out": ", ".join(f"{colour} {kind}" for kind, colour in HELD_OUT),
        "skies": ", ".join(SKIES),
        "grounds": ", ".join(GROUNDS),
        "kinds": ", ".join(KINDS),
        "colours": ", ".join(COLOURS),
        "sizes": ", ".join(SIZES),
        "places": ", ".join(PLACES),
    })  # fmt: skip


def _stages(states: dict[str, dict[str, Any]]) -> str:
    """Steps, time and final losses of each stage."""
    rows = []
    for stage, state in states.items():
        last = state["curve"][-N_LAST:]
        means = {k: fmean(row[k] for row in last) for k in (last[0] if last else {})}
        ends = [f"{name} {mean:.4g}" for name, mean in means.items() if name != "step"]
        rows.append(
            [stage, f"{state['step']:,}", _duration(state.get("seconds")), ", ".join(ends)]
        )
    last_values = f"at the end (mean of the last {N_LAST} entries of its curve)"
    return table(["stage", "steps", "time", last_values], rows)


def _duration(seconds: float | None) -> str:
    return "not recorded" if seconds is None else f"{seconds / 60:.0f} minutes"


def _training(recipe: Recipe, states: dict[str, dict[str, Any]]) -> str:
    """The command, the devices and the hours, as far as the run recorded them.

    A run without the first stages trained a finished model further.
    """
    seeds = {state["seed"] for state in states.values() if "seed" in state}
    seed = f" --seed {seeds.pop()}" if len(seeds) == 1 else ""
    which = "" if STAGES[0] in states else f" {' '.join(states)} --init MODEL"
    parts = [f"`labml-sd train{which} --recipe {recipe.name}{seed}`"]
    devices = dict.fromkeys(d for state in states.values() for d in state.get("machines", []))
    if devices:
        parts.append(f"on {'; '.join(devices)}")
    seconds = [state["seconds"] for state in states.values() if "seconds" in state]
    if seconds and len(seconds) == len(states):
        parts.append(f"{sum(seconds) / 3600:.1f} hours in total")
    return ", ".join(parts) + "."


def _weak(groups: dict[str, Any]) -> str:
    """The attributes that are right less often than `WEAK`, by group."""
    lines = []
    for group, shares in groups.items():
        weak = [
            f"{name} ({100 * share['mean']:.0f}%)"
            for name, share in shares.items()
            if share["mean"] < WEAK and name not in ("mean", "whole")
        ]
        lines.append(f"- {group}: {', '.join(weak) or 'none'}")
    return "\n".join(lines)
