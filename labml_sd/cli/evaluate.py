r"""`labml-sd train evaluate` and `labml-sd train card`.

Maps       command line arguments ->  evaluation.json, evaluation.md; MODEL_CARD.md
Tests      tests/cli/test_evaluate.py
"""

import argparse

from labml_sd.checkpoint import load_model
from labml_sd.errors import GenerationError
from labml_sd.evaluation.card import PAGE_PARTS, write_card, write_page
from labml_sd.evaluation.clip_score import load_clip
from labml_sd.evaluation.draw_and_read import Measurement, SamplingSettings
from labml_sd.evaluation.measure import PARTS, measure
from labml_sd.evaluation.probe import train_probe
from labml_sd.evaluation.results import read_results
from labml_sd.sampler import check_seed, get_sampler
from labml_sd.settings import check_settings
from labml_sd.tiny.recipe import RECIPES
from labml_sd.training.state_files import run_folder
from labml_sd.utilities.device import pick_device

_COST = """\
On two cores a full evaluation of the tiny model takes about an hour: accuracy 13 minutes,
sweeps 8, edits 8, precision 1, samplers 10, convergence 15; the probe, trained once, 4.
--prompts 100 takes a fifth of it."""


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Describe the flags of the evaluation."""
    group = parser.add_argument_group("evaluate and card", _COST)
    add = group.add_argument
    add("--model", default="tiny", help="tiny, a checkpoint, a folder or a hub id (tiny)")
    add(
        "--part",
        default="all",
        choices=["all", *PARTS],
        help="accuracy: attributes, autoencoder, Frechet distance, CLIP score (with clip.pt in "
        "--outdir); sweeps: guidance, steps, samplers; edits: negative prompt, img2img, "
        "in-painting; precision: float16 and bfloat16; samplers: each at 5 to 50 steps, and "
        "guidance at some levels only; convergence: how fast each sampler that draws no noise "
        "approaches the exact solution (all)",
    )
    add(
        "--prompts",
        type=int,
        default=500,
        help="prompts of each of the three kinds (500); sweeps, negative prompts and "
        "in-painting take a fifth as many, img2img a tenth, samplers a 25th, precision a "
        "thirtieth, convergence a 156th",
    )
    add("--sampler", default="dpmpp_2m", help="sampler (dpmpp_2m)")
    add("--guidance-scale", type=float, help="weight of the prompt (the model's)")
    add(
        "--full-precision",
        action="store_true",
        help="draw sweeps and edits in the model's own type, even where bfloat16 is faster",
    )


def run_evaluation(args: argparse.Namespace) -> None:
    """Train the probe unless the folder has it, measure the model, print and save a report."""
    if args.prompts < 1:
        raise GenerationError(f"--prompts is {args.prompts}; give 1 or more")
    # What is wrong is found before the work begins: the probe alone takes minutes.
    check_seed(args.seed)
    settings = SamplingSettings(
        steps=20 if args.steps is None else args.steps,
        sampler=args.sampler,
        guidance_scale=args.guidance_scale,
    )
    check_settings(vars(settings))
    device = pick_device(args.device)
    model = load_model(args.model, device=device)
    get_sampler(settings.sampler).levels(model.schedule, settings.steps)  # as many at most
    folder = args.outdir
    if (folder / "evaluation.json").exists():
        read_results(folder)  # raises for a damaged file, too
    clip = (
        load_clip(folder, RECIPES[args.recipe], device)
        if (folder / "clip.pt").exists()
        else None
    )
    with run_folder(folder):
        measurement = Measurement(
            model=model,
            probe=train_probe(folder, seed=args.seed, device=device),
            settings=settings,
            n_prompts=args.prompts,
            clip=clip,
            full_precision=args.full_precision,
        )
        parts = list(PARTS) if args.part == "all" else [args.part]
        report = measure(measurement, parts, folder)
    print(report, end="")


def run_card(args: argparse.Namespace) -> None:
    """Write pages into the model's folder and print where they are.

    They are those that `args.outdir` holds measurements for.
    """
    parts = read_results(args.outdir)["parts"]
    of_samplers = any(name in parts for name in PAGE_PARTS)
    if "accuracy" in parts or not of_samplers:
        card = write_card(args.model, RECIPES[args.recipe], args.outdir, args.init)
        print(f"card: {card}")
    if of_samplers:
        print(f"samplers: {write_page(args.model, args.outdir)}")
