r"""`labml-sd train embedding`: learn a new word from a few pictures.

Maps       command line arguments ->  an embedding file
Tests      tests/cli/test_train_embedding.py
"""

import argparse
import math
import re
from pathlib import Path

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.embeddings import LAYOUTS, save_embedding
from labml_sd.cli.stop import raising
from labml_sd.errors import CheckpointError, GenerationError, PromptError
from labml_sd.training.learn_embedding import EmbeddingSettings, learn_embedding
from labml_sd.training.processes import join_processes
from labml_sd.utilities.device import pick_device

MAX_TEMPLATES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.prog += " embedding"
    parser.description = "learn a new word from a few pictures; nothing else of the model moves"
    default = EmbeddingSettings(token="", init="")
    add = parser.add_argument
    add("stage", choices=["embedding"], help=argparse.SUPPRESS)
    add("--data", required=True, type=Path, metavar="FOLDER", help="folder of pictures")
    add("--token", required=True, metavar="WORD", help='the new word, as in "<toy>"')
    help = "a word that the model knows, to start from"
    add("--init", required=True, metavar="WORD", help=help)
    add("--model", default="tiny", help="tiny, a checkpoint, a folder or a hub id (tiny)")
    add("--vectors", type=int, default=1, help="token places that the word takes (1)")
    help = "captions, one a line, with {} for the word (neutral ones that the model can read)"
    add("--templates", type=Path, metavar="FILE", help=help)
    add("--no-mirror", action="store_true", help="do not learn from mirror images too")
    add("--size", type=int, help="pixels a side to which pictures are reduced (the model's)")
    add("--steps", type=int, help=f"steps of the whole training ({default.steps})")
    add("--minutes", type=float, help="time for the training, instead of --steps")
    add("--batch-size", type=int, default=default.batch_size, help=f"({default.batch_size})")
    help = "5%% of the spread of the model's token embeddings: 7e-4 for Stable Diffusion 1"
    add("--learning-rate", type=float, help=f"({help})")
    help = "takes less memory, and a third more time"
    add("--gradient-checkpointing", action="store_true", help=help)
    add("--seed", type=int, default=0, help="chooses captions, times and noise (0)")
    help = "folder of the run, in which it is resumed (runs/embedding)"
    add("--outdir", "--out", type=Path, default=Path("runs/embedding"), help=help)
    help = ".safetensors or .bin as in diffusers, .pt as in AUTOMATIC1111; "
    help += "(WORD.safetensors in --outdir)"
    add("--save", type=Path, metavar="FILE", help=help)
    add("--device", default="auto", help="auto, cpu, cuda, mps")


@raising()  # on Ctrl-C training saves its state, and then ends
def run(args: argparse.Namespace) -> None:
    """Train, and print where the embedding is. The same command resumes a run."""
    if args.minutes is not None and not 0 < args.minutes < math.inf:
        raise GenerationError(f"--minutes is {args.minutes}; give a finite number above 0")
    if args.steps is not None and args.steps < 1:
        raise GenerationError(f"--steps is {args.steps}; give 1 or more")
    target = args.save or args.outdir / f"{file_stem(args.token)}.safetensors"
    if target.suffix not in LAYOUTS or target == args.outdir / "embedding.pt":
        raise CheckpointError(
            f"{target}: give a name that ends in .safetensors, .bin or .pt, "
            "and is not the run's own embedding.pt"
        )
    settings = EmbeddingSettings(
        token=args.token,
        init=args.init,
        vectors=args.vectors,
        templates=read_templates(args.templates) if args.templates else (),
        mirror=not args.no_mirror,
        size=args.size,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
    )
    with join_processes() as processes:
        model = load_model(args.model, device=pick_device(args.device), dtype="float32")
        learned = learn_embedding(
            model,
            args.data,
            settings,
            args.outdir,
            seed=args.seed,
            n_steps=args.steps,
            minutes=args.minutes,
            gradient_checkpointing=args.gradient_checkpointing,
            processes=processes,
        )
        if processes.is_main:
            save_embedding(learned, target)
            print(f"embedding: {target}; write {args.token} in a prompt")


def file_stem(token: str) -> str:
    """The word as the name of a file."""
    return re.sub(r"[^\w-]+", "", token) or "embedding"


def read_templates(path: Path) -> tuple[str, ...]:
    """The lines of a file. Raises PromptError if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: cannot be read as text ({error})") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found or len(found) > MAX_TEMPLATES:
        raise PromptError(f"{path}: has {len(found):,} captions; give 1 to {MAX_TEMPLATES:,}")
    return found
