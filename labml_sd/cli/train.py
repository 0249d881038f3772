r"""`labml-sd train`: train the tiny model from scratch.

Maps       command line arguments ->  a folder with the trained model
Tests      tests/cli/test_train.py
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

from labml_sd.checkpoint import load_model, save_model
from labml_sd.cli.evaluate import add_evaluation, run_card, run_evaluation
from labml_sd.cli.stop import raising
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.recipe import RECIPES
from labml_sd.training.processes import Processes, join_processes
from labml_sd.training.stages import (
    FROM_MODEL,
    STAGES,
    TOWER,
    assemble,
    check_prediction,
    train_stage,
)
from labml_sd.utilities.device import pick_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "stage",
        nargs="?",
        default="all",
        choices=["all", *STAGES, "inpainting", "image_tower", "assemble", "evaluate", "card"],
        help="what to train; all: one stage after the other, then assemble the model "
        "(default); evaluate: measure what a trained model can do; card: write its model card",
    )
    parser.add_argument(
        "--recipe", default="tiny", choices=sorted(RECIPES), help="the numbers of the run"
    )
    parser.add_argument(
        "--minutes", type=float, help="time for all stages; default: the recipe's steps"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="steps of each stage, instead of --minutes; evaluate: of each picture (20)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses scenes, first weights and noise"
    )
    parser.add_argument(
        "--outdir", "--out", type=Path, default=Path("runs/tiny"), help="folder of the run"
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="train the decoder, or the U-Net (diffusion; inpainting), of a finished model "
        "further, or an image_tower beside it: tiny, a checkpoint, a folder or a hub id; "
        "assemble and card: the same model",
    )
    parser.add_argument(
        "--prediction",
        choices=["eps", "v"],
        help="what the U-Net learns to predict: the noise, or v; with --init also instead of "
        "what it predicts now (that of the model, or eps)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    add_evaluation(parser)


@raising()  # on Ctrl-C training saves its state, and then ends
def run(args: argparse.Namespace) -> None:
    """Train, and print where the results are.

    A call continues where an earlier one with the same folder stopped.
    """
    if args.minutes is not None and not 0 < args.minutes < math.inf:
        raise GenerationError(f"--minutes is {args.minutes}; give a finite number above 0")
    if args.steps is not None and args.steps < 1:
        raise GenerationError(f"--steps is {args.steps}; give 1 or more")
    try:
        if args.stage in ("evaluate", "card"):
            (run_evaluation if args.stage == "evaluate" else run_card)(args)
            return
        with join_processes() as processes:
            _train(args, processes)
    except PermissionError as error:
        place = error.filename or args.outdir
        raise CheckpointError(
            f"{place}: not allowed ({error.strerror}); give another folder"
        ) from error


def _change_prediction(init: LatentDiffusion, args: argparse.Namespace) -> None:
    """What the U-Net of `init` will learn to predict, as SD 2 went from eps to v."""
    if args.stage == "diffusion":
        check_prediction(args.outdir, args.prediction)
        init.config = replace(init.config, prediction=args.prediction)
    elif args.prediction != init.config.prediction:
        raise GenerationError(
            f"--prediction is {args.prediction}, and {args.init} predicts "
            f"{init.config.prediction}: only the stage diffusion changes that"
        )


def _train(args: argparse.Namespace, processes: Processes) -> None:
    recipe, device = RECIPES[args.recipe], pick_device(args.device)
    init = load_model(args.init, device=device, dtype="float32") if args.init else None
    if init is not None and args.prediction:
        _change_prediction(init, args)
    recipe = replace(recipe, model=replace(recipe.model, prediction=args.prediction or "eps"))
    chosen = STAGES if args.stage == "all" else [args.stage]
    for stage in (name for name in chosen if name in {*STAGES, *FROM_MODEL}):
        train_stage(
            stage,
            recipe,
            args.outdir,
            seed=args.seed,
            device=device,
            n_steps=args.steps,
            minutes=args.minutes,
            processes=processes,
            init=init,
        )
        if processes.is_main:
            print(f"{stage}: {args.outdir / stage}.png, curve in {args.outdir / stage}.csv")
            if stage == "image_tower":
                print(f"tower: {args.outdir / TOWER}")
    if args.stage in ("all", "assemble") and processes.is_main:
        save_model(
            assemble(recipe, args.outdir, init).half(),
            args.outdir / "model",
            layout="diffusers",
        )
        print(f"model: {args.outdir / 'model'}")
