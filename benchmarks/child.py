"""A fresh process that imports or loads one thing and prints the seconds of each phase.

`processes.py` starts it. After each line it waits for one: meanwhile its memory is read.
"""

import sys
import time
from collections.abc import Callable
from typing import Any


def phase(name: str, work: Callable[[], Any]) -> Any:
    """Do the work, print its seconds, wait for a line."""
    started = time.perf_counter()
    result = work()
    print(name, time.perf_counter() - started, flush=True)
    sys.stdin.readline()
    return result


def import_package() -> Any:
    """Our package, with what it imports for the first image."""
    import labml_sd
    from labml_sd import load_model, txt2img  # noqa: F401

    return labml_sd


def import_pipeline() -> Any:
    """diffusers' pipeline."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline


def import_torch() -> Any:
    """PyTorch alone, which both need."""
    import torch

    return torch


def import_for_ours() -> Any:
    """Our package, with what it imports while it loads."""
    from transformers import CLIPTokenizer  # noqa: F401

    return import_package()


def import_for_theirs() -> Any:
    """diffusers' pipeline, with what it imports while it loads."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    return import_pipeline()


def load_ours(path: str, tokenizer: str, dtype: str) -> None:
    """Our loader, then a small image of one step, so that every weight is read."""
    sd = phase("import", import_for_ours)
    words = {} if path.endswith("/") else {"tokenizer": tokenizer}
    model = phase("load", lambda: sd.load_model(path, device="cpu", dtype=dtype, **words))
    phase(
        "first picture",
        lambda: sd.txt2img(model, "a", height=64, width=64, steps=1, progress=False),
    )


def load_theirs(path: str, folder: str, dtype: str) -> None:
    """diffusers' loader of a folder, or of a single file with the folder's configuration."""
    pipeline = phase("import", import_for_theirs)
    import torch

    settings: dict[str, Any] = {"torch_dtype": getattr(torch, dtype), "local_files_only": True}

    def load() -> Any:
        if path.endswith("/"):
            return pipeline.from_pretrained(path, safety_checker=None, **settings)
        return pipeline.from_single_file(path, config=folder, safety_checker=None, **settings)

    pipe = phase("load", load)
    pipe.set_progress_bar_config(disable=True)
    phase("first picture", lambda: pipe("a", height=64, width=64, num_inference_steps=1))


def main() -> None:
    """`child.py WHAT ARGUMENT...`"""
    what, *given = sys.argv[1:]
    imports = {"torch": import_torch, "diffusers": import_pipeline, "labml_sd": import_package}
    if what == "import":
        phase("seconds", imports[given[0]])
    elif what == "ours":
        load_ours(*given)
    else:
        load_theirs(*given)


if __name__ == "__main__":
    main()
