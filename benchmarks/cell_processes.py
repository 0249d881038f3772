"""Cells of whole processes: import, loading from disk, the shell command from start to PNG."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files as resources
from pathlib import Path
from tempfile import TemporaryDirectory

import files
from cells import Cell, Comparison, Setting
from pairs import Reading, Run
from processes import watched, whole

PROMPT = "a red house in the snow at night"
THEIR_SCRIPT = """
import sys
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.float32)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
pipe(sys.argv[2], num_inference_steps=20, guidance_scale=3.0).images[0].save(sys.argv[3])
"""


@contextmanager
def imports(setting: Setting) -> Iterator[Comparison]:
    """The import statement alone, in a fresh interpreter."""
    names = {"ours": "labml_sd", "torch alone": "torch", "diffusers": "diffusers"}
    runs: dict[str, Run] = {name: partial(_import, package) for name, package in names.items()}
    yield Comparison(runs=runs)


def _import(package: str) -> Reading:
    return {"seconds": watched("import", package)["seconds"]}


@contextmanager
def load(setting: Setting, *, make: Callable[[Path], Path], dtype: str) -> Iterator[Comparison]:
    """Both load a model from the same file or folder, which is in the page cache.

    The time is that of loading alone, after all imports. Listed below it: the imports, and the
    first image, 64x64 with one step.
    """
    setting.shelf.clear()
    path, folder = make(setting.files), files.folder(setting.files)
    words = str(files.tokenizer_folder(setting.files))
    source = f"{path}/" if path.is_dir() else str(path)
    runs = {
        "ours": partial(_loaded, "ours", source, words, dtype),
        "diffusers": partial(_loaded, "theirs", source, str(folder), dtype),
    }
    files.warm(path)
    yield Comparison(runs=runs)


def _loaded(*arguments: str) -> Reading:
    reading = watched(*arguments)
    return {"seconds": reading["load"], **reading}


@contextmanager
def shell(setting: Setting) -> Iterator[Comparison]:
    """`labml-sd txt2img` with the tiny model, and a script of diffusers that does the same."""
    tiny = str(resources("labml_sd") / "models" / "tiny")
    command = str(Path(sys.executable).with_name("labml-sd"))
    with TemporaryDirectory() as folder:
        ours = [
            command,
            "txt2img",
            PROMPT,
            "--device",
            "cpu",
            "--seed",
            "1",
            "--outdir",
            folder,
        ]
        theirs = [sys.executable, "-c", THEIR_SCRIPT, tiny, PROMPT, f"{folder}/theirs.png"]
        yield Comparison(
            runs={"ours": partial(whole, ours), "diffusers": partial(whole, theirs)}
        )
        assert len(list(Path(folder).rglob("*.png"))) > 1, "no picture was written"


def cells() -> list[Cell]:
    """All of them are for the CPU."""
    sources = {
        "safetensors, float32": (files.single_file, "float32", True),
        "safetensors, float16": (files.half_file, "float16", False),
        "zip .ckpt, float32": (files.pickle_file, "float32", True),
        "diffusers folder, float32": (files.folder, "float32", True),
    }
    found = [
        Cell(name="import", enter=imports, devices=("cpu",)),
        Cell(name="tiny model, shell to PNG", enter=shell, devices=("cpu",)),
    ]
    for name, (make, dtype, quick) in sources.items():
        enter = partial(load, make=make, dtype=dtype)
        found.append(Cell(name=f"load {name}", enter=enter, quick=quick, devices=("cpu",)))
    return found
