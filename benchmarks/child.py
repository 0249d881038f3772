"""What runs in a fresh process: one thing is imported or loaded, and each phase says how long it took.

Run by `processes.py`. After each line it waits for one: its memory is read meanwhile.
"""

import sys
import time
from collections.abc import Callable
from typing import Any


def phase(name: str, work: Callable[[], Any]) -> Any:
    """Do it, say how long it took, wait to be read."""
    started = time.perf_counter()
    result = work()
    print(name, time.perf_counter() - started, flush=True)
    sys.stdin.readline()
    return result


def import_package() -> Any:
    """Our package, and what it imports only when it is asked for a picture."""
    import labml_sd
    from labml_sd import load_model, txt2img  # noqa: F401

    return labml_sd


def import_pipeline() -> Any:
    """Their pipeline."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline


def import_torch() -> Any:
    """What both stand on."""
    import torch

    return torch


def import_for_ours() -> Any:
    """Our package, and what it imports while it loads."""
    from transformers import CLIPTokenizer  # noqa: F401

    return import_package()


def import_for_theirs() -> Any:
    """Their pipeline, and what it imports while it loads."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    return import_pipeline()


def load_ours(path: str, tokenizer: str, dtype: str) -> None:
    """Our loader, then a small picture of one step: every weight is used."""
    sd = phase("import", import_for_ours)
    words = {} if path.endswith("/") else {"tokenizer": tokenizer}
    model = phase("load", lambda: sd.load_model(path, device="cpu", dtype=dtype, **words))
    phase(
        "first picture",
        lambda: sd.txt2img(model, "a", height=64, width=64, steps=1, progress=False),
    )


def load_theirs(path: str, folder: str, dtype: str) -> None:
    """Their loader of a folder, or of a single file with the folder's configuration."""
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
