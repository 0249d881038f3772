r"""The commands that only show something: inspect and env.

Maps       a file, or this computer -> lines of text on standard output
Tests      tests/cli/test_main.py
"""

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import labml_sd
from labml_sd.acceleration.attention import INSTRUCTIONS, which_kernel
from labml_sd.adapters.textual_inversion import described
from labml_sd.checkpoint.bundled import BUNDLED
from labml_sd.checkpoint.embeddings import load_embedding
from labml_sd.checkpoint.layouts.embedding import PICTURE_TEXT
from labml_sd.errors import ImageError
from labml_sd.images.parameters import write_entries
from labml_sd.images.reading import picture_format, read_picture
from labml_sd.pipeline.parameters import read_parameters

_PACKAGES = (
    *("torch", "transformers", "einops", "pillow", "numpy", "safetensors", "huggingface_hub"),
    *("tqdm", "jaxtyping", "diffusers", "accelerate"),
)


def inspect_command(args: argparse.Namespace) -> None:
    """Print the parameters inside a picture, or what a checkpoint holds."""
    file, path = args.file, Path(args.file)
    try:
        exists, is_picture = path.exists(), _is_picture(path)
    except OSError as error:
        raise ImageError(f"{file} cannot be read ({error.strerror or error})") from error
    if not exists and file not in BUNDLED:
        raise ImageError(
            f"{file} does not exist: give a picture, a checkpoint file, a model folder, "
            f"{' or '.join(BUNDLED)}"
        )
    if is_picture:
        inside = _embeddings_in(path, args.max_pixels)
        try:
            print(_picture_text(path, args.max_pixels))
        except ImageError:  # no parameters
            if not inside:
                raise
        print(*(f"{'embedding:':18} {line}\n" for line in inside), sep="", end="")
        return
    from labml_sd.checkpoint import inspect_file

    print(inspect_file(path if exists else file))


def _embeddings_in(path: Path, max_pixels: int) -> list[str]:
    """What AUTOMATIC1111's picture of an embedding holds; nothing for other pictures."""
    if PICTURE_TEXT not in read_picture(path, max_pixels=max_pixels).info:
        return []
    return [described(e.name, len(e.vectors), e.width) for e in load_embedding(path)]


def _is_picture(path: Path) -> bool:
    """Tell by the first bytes: a name can have any suffix."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(12)
    return picture_format(head) is not None


def _picture_text(path: Path, max_pixels: int) -> str:
    found = read_parameters(path, max_pixels=max_pixels)
    unused = write_entries(found.unused)
    values = {"tool": found.tool, **found.to_dict(), "unused": unused}
    return "\n".join(
        f"{k + ':':18} {_printable(v)}" for k, v in values.items() if v not in (None, "")
    )


def _printable(value: object) -> object:
    """A text with line breaks or terminal codes is shown as JSON shows it."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() else json.dumps(c)[1:-1]
        for c in json.dumps(value, ensure_ascii=False)
    )


def env_command(args: argparse.Namespace) -> None:
    """Print the versions, the devices and the memory, one line each."""
    folder = Path(labml_sd.__file__).parent / "models" / "tiny"
    has_model = (folder / "model_index.json").is_file()
    shown = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "labml_sd": labml_sd.__version__,
        **{name: _version(name) for name in _PACKAGES},
        "devices": ", ".join(_devices()),
        "threads": torch.get_num_threads(),
        "memory": _memory(),
        "attention": "on the CPU: "
        + ", ".join(f"in {str(t).split('.')[1]} {which_kernel(t)}" for t in INSTRUCTIONS),
        "bundled model": "present" if has_model else f"missing ({folder})",
    }
    for name, value in shown.items():
        print(f"{name + ':':16} {value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    found = [
        f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())
    ]
    return ["cpu", *found, *(["mps"] if torch.backends.mps.is_available() else [])]


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
