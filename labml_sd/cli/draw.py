r"""The commands that draw: txt2img, img2img, inpaint and outpaint.

Maps       parsed arguments -> pictures in a folder, their paths on standard output
Tests      tests/cli/test_main.py, tests/cli/test_lists.py
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.bundled import BUNDLED
from labml_sd.cli.flags import SIDES
from labml_sd.cli.lists import Call, Inputs, PictureList, make_calls
from labml_sd.cli.processes import beside_others, rank_and_count
from labml_sd.cli.prompts import pictures_in, read_prompts, varied
from labml_sd.cli.resume import SavedList, first_number
from labml_sd.cli.saving import draw_calls, note, summary
from labml_sd.cli.stop import advising
from labml_sd.errors import GenerationError, ImageError, LabmlSdError
from labml_sd.images.parameters import write_entries
from labml_sd.images.reading import open_layers
from labml_sd.images.writing import check_folder
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.pipeline.outpaint import larger_canvas
from labml_sd.pipeline.parameters import read_parameters
from labml_sd.settings import described
from labml_sd.utilities.device import use_own_gpu


def txt2img_command(args: argparse.Namespace) -> None:
    """Draw from a prompt, or draw a picture again from the parameters inside it."""
    if args.from_image is not None:
        _redraw(args)
        return
    _draw(txt2img, args, read_prompts(args))


def _redraw(args: argparse.Namespace) -> None:
    """Draw the picture of --from-image again; flags replace its parameters."""
    drawn = read_parameters(args.from_image, max_pixels=args.max_pixels)
    if drawn.task != "txt2img":
        raise GenerationError(
            f"{args.from_image} was drawn by {drawn.task}: "
            "--from-image draws txt2img pictures again"
        )
    if args.model is None and drawn.model in BUNDLED:
        args.model = drawn.model
    elif args.model is None and drawn.model is not None:
        raise GenerationError(
            f"{args.from_image} was drawn by model {drawn.model}: give its file as --model"
        )
    args.dtype = drawn.dtype if drawn.dtype and args.dtype == "auto" else args.dtype
    model = _model(args)
    if drawn.unused:
        left_out = write_entries(drawn.unused)
        note(f"labml-sd: warning: what {drawn.tool} did and is not done here: {left_out}")
    vae = None if model.vae_file is None else model.vae_file.hash
    if drawn.vae_hash != vae:
        note(f"labml-sd: warning: drawn with VAE {drawn.vae or 'of the model'}, see --vae")
    here = model.weights_hash or "not from a file"
    if drawn.model_hash and drawn.model_hash != here:
        note(f"labml-sd: warning: drawn by model {drawn.model_hash}, this is {here}")
    prompts = read_prompts(args, drawn.prompt)
    _draw(txt2img, args, prompts, recorded=drawn.settings, model=model)


def img2img_command(args: argparse.Namespace) -> None:
    """Draw a picture, or each of a folder, again under a prompt."""
    prompts = read_prompts(args)
    if args.init_image is not None and os.path.isdir(args.init_image):
        paths = pictures_in(Path(args.init_image), args.outdir)
        _draw(img2img, args, prompts, [(path,) for path in paths])
        return
    missing = "img2img needs a picture to start from: give --init-image FILE"
    image = _opened(args, args.init_image, missing)
    _draw(img2img, args, prompts, [(image,)])


def inpaint_command(args: argparse.Namespace) -> None:
    """Draw the white part of a mask again."""
    prompts = read_prompts(args)
    missing = "inpaint needs the picture to repair: give --init-image FILE"
    image = _opened(args, args.init_image, missing)
    missing = "inpaint needs a mask, white where it should paint: give --mask FILE"
    mask = _opened(args, args.mask, missing)
    _draw(inpaint, args, prompts, [(image, mask)])


def outpaint_command(args: argparse.Namespace) -> None:
    """Continue a picture beyond its borders."""
    prompts = read_prompts(args)
    missing = "outpaint needs the picture to continue: give --init-image FILE"
    image = _opened(args, args.init_image, missing)
    _draw(inpaint, args, prompts, [larger_canvas(image, *(vars(args)[side] for side in SIDES))])


def _opened(args: argparse.Namespace, path: str | None, message: str) -> Image.Image:
    """A picture with its opacity, which says something in a mask."""
    if path is None:
        raise ImageError(message)
    return open_layers(path, max_pixels=args.max_pixels)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags; the others are left to the pipeline's defaults."""
    names = [*described(), "strength"]
    return {name: vars(args)[name] for name in names if vars(args).get(name) is not None}


def _model(args: argparse.Namespace) -> LatentDiffusion:
    names = ("device", "dtype", "tokenizer", "compile", "offload", "vae", "prediction")
    given = {name: getattr(args, name) for name in names}
    return load_model(args.model or "tiny", **given)


def _draw(
    pipeline: Callable[..., list[Image.Image]],
    args: argparse.Namespace,
    prompts: Sequence[str],
    inputs: Sequence[Inputs] = ((),),
    *,
    recorded: Mapping[str, Any] | None = None,
    model: LatentDiffusion | None = None,
) -> None:
    """Draw this process's share of a list, which may be one prompt. Load `model` if None."""
    folder = check_folder(args.outdir)
    rank, count = rank_and_count()
    # The shell draws a random seed by default, where the pipelines always take the same.
    settings = {"seed": None, **(recorded or {}), **_settings(args)}
    seed_is_new = settings["seed"] is None
    if seed_is_new:
        settings["seed"] = secrets.randbelow(2**32)
    prompts = varied(args, prompts, settings["seed"])
    calls = make_calls(prompts, inputs, settings)
    _check_list(args, calls, count, seed_is_new)
    with beside_others(folder, count) as wait:
        if count > 1:
            use_own_gpu(rank)
        pictures = PictureList(pipeline, model or _model(args), calls, args.max_pixels)
        pictures.request(replace(calls[-1], prompt=""))  # wrong settings end the list at once
        resumes = args.resume or count > 1
        first = first_number(pictures, folder, resumes=resumes, expected=args.resume)
        saved = SavedList(pictures, folder, first, resumes)
        share = [call for call in calls[rank::count] if saved.missing(call)]
        advice = f"--resume --seed {settings['seed']} draws the rest"
        progress = sys.stderr.isatty() and rank == 0
        with advising(advice) if len(calls) > 1 else nullcontext():
            failed = draw_calls(saved, share, progress=progress, tell_seed=seed_is_new)
        if failed:
            wait()
            raise LabmlSdError(summary(failed, advice))


def _check_list(
    args: argparse.Namespace, calls: Sequence[Call], count: int, seed_is_new: bool
) -> None:
    """Raise `GenerationError` for what several processes, or two runs, cannot agree on."""
    if count > 1 and len(calls) == 1 and args.prompt_file is None:
        raise GenerationError(
            f"WORLD_SIZE is {count}, and there is no list to share: "
            "give --prompt-file FILE, or start one process"
        )
    if seed_is_new and (args.resume or count > 1):
        why = "--resume needs the seed of the list"
        why = why if args.resume else "several processes need the same seed"
        raise GenerationError(f"{why}: give --seed N")
