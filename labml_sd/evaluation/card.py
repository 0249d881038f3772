r"""The model card: a template filled with the numbers of a training run and its evaluation.

Maps       a model, the folder of its run  ->  MODEL_CARD.md
Tests      tests/evaluation/test_card.py
"""

from pathlib import Path
from string import Template
from typing import Any

from torch import nn

from labml_sd.errors import CheckpointError
from labml_sd.evaluation.report import body
from labml_sd.evaluation.results import FILE, fingerprint, measured_folder, write_text
from labml_sd.evaluation.sampler_page import SAMPLER_PARTS
from labml_sd.evaluation.tables import table
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import COLOURS, GROUNDS, HELD_OUT, KINDS, PLACES, SIZES, SKIES
from labml_sd.training.run import read_state
from labml_sd.training.stages import CONFIG, STAGES, assemble

CARD = "MODEL_CARD.md"
NOTES = "notes.md"  # in the run's folder: remarks on the run, written by hand
TEMPLATE = Path(__file__).with_name("model_card.md")
N_LAST = 10  # last entries of a curve, which are averaged for "at the end"
WEAK = 0.9  # attributes that are right less often are listed


def write_card(source: str, recipe: Recipe, run: Path) -> Path:
    """Write the card into a model's folder.

    Raises CheckpointError if the run has no results, or made another model.
    """
    folder, model, results = measured_folder(source, run, "a model card")
    if (run / CONFIG).exists() and fingerprint(assemble(recipe, run).half()) != results[
        "model"
    ]["weights"]:
        raise CheckpointError(
            f"{run}: its checkpoints make other weights than {folder}; give its own run"
        )
    if "accuracy" not in results["parts"]:
        raise CheckpointError(
            f"{run / FILE}: has no accuracy; run labml-sd train evaluate --part accuracy"
        )
    write_text(folder / CARD, card_text(model, folder, recipe, run, results))
    return folder / CARD


def card_text(
    model: LatentDiffusion, folder: Path, recipe: Recipe, run: Path, results: dict[str, Any]
) -> str:
    """The filled template."""
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.suffix != ".md")
    paths = {stage: run / f"{stage}.pt" for stage in STAGES}
    states = {stage: read_state(path) for stage, path in paths.items() if path.exists()}
    facts = {
        "name": model.config.name,
        "size": model.config.image_size,
        "megabytes": f"{size / 1e6:.1f}",
        "weights": results["model"]["weights"],
        "scale": model.config.autoencoder.scale_factor,
        "parts": _parts(model),
        "stages": _stages(states),
        "notes": _notes(run),
        "training": _training(recipe, states),
        "evaluation": _evaluation(results),
        "results": "\n\n".join(
            f"#{text}" if text.startswith("#") else text for text in body(results)
        ),
        "weak": _weak(results["parts"]["accuracy"]["groups"]),
        "held_out": ", ".join(f"{colour} {kind}" for kind, colour in HELD_OUT),
    }
    words = {
        "skies": SKIES,
        "grounds": GROUNDS,
        "kinds": KINDS,
        "colours": COLOURS,
        "sizes": SIZES,
        "places": PLACES,
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        facts, **{name: ", ".join(values) for name, values in words.items()}
    )


def _parts(model: LatentDiffusion) -> str:
    c = model.config
    z, side = c.autoencoder.z_channels, c.image_size // c.autoencoder.downsampling_factor
    text = c.text_encoder
    rows = [
        (
            "autoencoder",
            model.autoencoder,
            f"levels of {_widths(c.autoencoder)} channels; latent [{z} {side} {side}]",
        ),
        (
            "text encoder",
            model.text_encoder,
            f"{text.n_layers} layers of width {text.d_model}, {text.vocab_size} tokens, "
            f"{text.n_positions} positions",
        ),
        ("U-Net", model.unet, f"levels of {_widths(c.unet)} channels"),
    ]
    return table(
        ["part", "parameters", "shape"],
        [[name, f"{_count(net):,}", shape] for name, net, shape in rows],
    )


def _widths(config: Any) -> str:
    return ", ".join(str(config.channels * m) for m in config.channel_multipliers)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _stages(states: dict[str, dict[str, Any]]) -> str:
    """Steps, time and final losses of each stage."""
    rows = []
    for stage, state in states.items():
        last = state["curve"][-N_LAST:]
        names = [name for name in (last[0] if last else {}) if name != "step"]
        ends = [f"{name} {sum(row[name] for row in last) / len(last):.4g}" for name in names]
        rows.append(
            [stage, f"{state['step']:,}", _duration(state.get("seconds")), ", ".join(ends)]
        )
    last_values = f"at the end (mean of the last {N_LAST} entries of its curve)"
    return table(["stage", "steps", "time", last_values], rows)


def _duration(seconds: float | None) -> str:
    return "not recorded" if seconds is None else f"{seconds / 60:.0f} minutes"


def _training(recipe: Recipe, states: dict[str, dict[str, Any]]) -> str:
    """The command, the devices and the hours, as far as the run recorded them."""
    seeds = {state["seed"] for state in states.values() if "seed" in state}
    seed = f" --seed {seeds.pop()}" if len(seeds) == 1 else ""
    lines = [f"`labml-sd train --recipe {recipe.name}{seed}`"]
    devices = dict.fromkeys(d for state in states.values() for d in state.get("machines", []))
    if devices:
        lines.append(f"on {'; '.join(devices)}")
    seconds = [state["seconds"] for state in states.values() if "seconds" in state]
    if seconds and len(seconds) == len(states):
        lines.append(f"{sum(seconds) / 3600:.1f} hours in total")
    return ", ".join(lines) + "."


def _notes(run: Path) -> str:
    """The remarks on the run as a paragraph, or nothing."""
    path = run / NOTES
    return "\n" + path.read_text(encoding="utf-8").strip() + "\n" if path.exists() else ""


def _evaluation(results: dict[str, Any]) -> str:
    """The device and the time of each part of the evaluation."""
    shown = {name: part for name, part in results["parts"].items() if name not in SAMPLER_PARTS}
    rows = [[name, part["machine"], _duration(part["seconds"])] for name, part in shown.items()]
    return table(["part", "measured on", "time"], rows)


def _weak(groups: dict[str, Any]) -> str:
    """The attributes that are right less often than `WEAK`, by group."""
    lines = []
    for group, shares in groups.items():
        weak = [
            f"{name} ({100 * s['mean']:.0f}%)"
            for name, s in shares.items()
            if s["mean"] < WEAK and name not in ("mean", "whole")
        ]
        lines.append(f"- {group}: {', '.join(weak) or 'none'}")
    return "\n".join(lines)
