r"""`labml-sd train`: the tiny model from scratch, by one command.

Room       training, called by cli.py
Maps       command line arguments  ->  a folder with the trained model
See        tests/training/test_command.py
"""

import argparse
from pathlib import Path

from labml_sd.checkpoint import load_model, save_model
from labml_sd.checkpoint.load import pick_device
from labml_sd.errors import GenerationError
from labml_sd.sampler import get_sampler
from labml_sd.training.evaluate import Settings, evaluate
from labml_sd.training.probe import train_probe
from labml_sd.training.recipe import RECIPES
from labml_sd.training.stages import STAGES, Budget, assemble, train_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "stage",
        nargs="?",
        default="all",
        choices=["all", *STAGES, "assemble", "evaluate"],
        help="what to train; all: one stage after the other, then put the model together (default); "
        "evaluate: measure how often a trained model draws what the prompt says",
    )
    parser.add_argument("--recipe", default="tiny", choices=sorted(RECIPES), help="the numbers of the run")
    parser.add_argument("--minutes", type=float, help="time for all stages; default: the recipe's steps")
    parser.add_argument(
        "--steps", type=int, help="steps of each stage; wins over --minutes; evaluate: of each picture (20)"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses scenes, first weights and noise")
    parser.add_argument("--outdir", "--out", type=Path, default=Path("runs/tiny"), help="folder of the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    judged = parser.add_argument_group("evaluate")
    judged.add_argument("--model", default="tiny", help="tiny, a checkpoint, a folder or a hub id (tiny)")
    judged.add_argument("--prompts", type=int, default=500, help="prompts of each of the three kinds (500)")
    judged.add_argument("--sampler", default="dpmpp_2m", help="sampler (dpmpp_2m)")
    judged.add_argument("--guidance-scale", type=float, help="weight of the prompt (the model's)")


def run(args: argparse.Namespace) -> None:
    """Train; go on where an earlier call with the same folder stopped. Prints where the results are."""
    if args.minutes is not None and not args.minutes > 0:
        raise GenerationError(f"--minutes is {args.minutes}; give a number above 0")
    if args.steps is not None and args.steps < 1:
        raise GenerationError(f"--steps is {args.steps}; give 1 or more")
    if args.stage == "evaluate":
        _evaluate(args)
        return
    recipe, device = RECIPES[args.recipe], pick_device(args.device)
    budget = Budget(n_steps=args.steps, minutes=args.minutes)
    for stage in STAGES if args.stage == "all" else [s for s in STAGES if s == args.stage]:
        train_stage(stage, recipe, args.outdir, budget, seed=args.seed, device=device)
        print(f"{stage}: {args.outdir / stage}.png, curve in {args.outdir / stage}.csv")
    if args.stage in ("all", "assemble"):
        save_model(assemble(recipe, args.outdir).half(), args.outdir / "model", layout="diffusers")
        print(f"model: {args.outdir / 'model'}")


def _evaluate(args: argparse.Namespace) -> None:
    """Train the probe unless the folder has it, measure the model, print the report and keep it."""
    if args.prompts < 1:
        raise GenerationError(f"--prompts is {args.prompts}; give 1 or more")
    get_sampler(args.sampler)  # a wrong name is told before the work begins
    device = pick_device(args.device)
    model = load_model(args.model, device=device)
    probe = train_probe(args.outdir, seed=args.seed, device=device)
    settings = Settings(
        n_prompts=args.prompts,
        steps=20 if args.steps is None else args.steps,
        sampler=args.sampler,
        guidance_scale=args.guidance_scale,
    )
    report = evaluate(model, probe, settings).report()
    (args.outdir / "evaluation.md").write_text(report, encoding="utf-8")
    print(report, end="")
