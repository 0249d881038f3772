r"""Arguments of wrong type and value for everything that the pipelines take.

    python tests/pipeline/fuzz.py --count 2000 --seed 0

A call may succeed or raise LabmlSdError with a message of one line; any other error is a
finding. `tests/pipeline/test_properties.py` runs a small number of calls.

Maps       a seed  ->  calls with one or two wrong arguments  ->  the findings
"""

import argparse
import math
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from labml_sd.checkpoint import load_model
from labml_sd.errors import LabmlSdError
from labml_sd.images.tensors import save_images
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img, inpaint, txt2img


class Mute:
    """An object without a repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Elsewhere:
    """A path-like object of something that is not a path."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


class Text(str):
    """A subclass of str."""


def anything() -> list[Any]:
    """Values of every kind that may be passed by mistake."""
    recursive: list[Any] = []
    recursive.append(recursive)
    return [
        *(None, True, False, ..., NotImplemented, object(), Mute(), type, int, len,
          lambda: None, print),
        *(0, 1, -1, 2, 3, 16, 17, 2**31, 2**64 - 1, 2**64, 10**18, -(10**18), 10**400, 10**5000,
          -(10**5000)),
        *(0.0, -0.0, 0.5, 1.0, 1.5, 20.0, -1.0, 1e-300, 1e300, math.inf, -math.inf, math.nan,
          1j, 5e-324),
        *(Fraction(1, 3), Decimal("0.5"), Decimal("NaN"), np.int64(3), np.float32(0.5),
          np.float64(0.5)),
        *(np.bool_(True), np.str_("a"), np.array(3), np.zeros(3), np.zeros((0, 3)),
          np.array(["a", "b"])),
        *("", " ", "a", "20", "0.5", "auto", "cpu", "ddim", "tiny", "\0", "\ud800",
          "a\nb\x1b[2J"),
        "x" * 100_000,
        *("../../etc", "~nobody-of-that-name/x", "/dev/null", "/proc/self/mem", ".", "/",
          "meta", "cuda:99"),
        *("cpu:1", "xpu", "float8_e4m3fn", "a/b/c", "\u202eabc", "nul", "C:\\x", "\u0130",
          "a" * 300),
        *(b"", b"a house", bytearray(b"x"), memoryview(b"x"), Text("a"), Path("nowhere"),
          Path()),
        Elsewhere(3),
        *(Elsewhere(b"x"), Elsewhere("\0"), [], (), {}, set(), [None], [1, 2], (0.3, 5), (5,
          0.3)),
        ("a", "b"),
        *((0, math.nan), [[]], [""], ["a", None], ["a", b"b"], ["a"] * 3, {"a": 1}, {1, 2},
          range(3)),
        iter("ab"),
        *(recursive, torch.tensor(3), torch.tensor(0.5), torch.zeros(3), torch.device("meta"),
          torch.float32),
        *(torch.int8, torch.nn.Linear(1, 1), Image.new("L", (3, 5)), Image.new("RGB", (40, 7))),
        [Image.new("1", (2, 2))],
        *(Image.new("F", (4, 4)), Image.new("RGBA", (1, 1)), Image.new("RGB", (0, 4))),
        Image.new("P", (9, 9)),
        KeyError("a"),
    ]  # fmt: skip


def tasks(
    model: LatentDiffusion, folder: Path
) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each function with correct arguments that run quickly."""
    drawing = {
        "model": model, "prompt": "a house", "negative_prompt": "", "height": None,
        "width": None,
        "sampler": "ddim", "compat": None, "steps": 1, "guidance_scale": 1.0,
        "guidance_rescale": 0.0,
        "guidance_interval": None, "seed": 1, "variation_seed": 3, "variation_strength": 0.0,
        "noise": "cpu",
        "n_images": 1, "on_step": None, "progress": False,
    }  # fmt: skip
    picture = Image.new("RGB", (24, 16), "red")
    edit = {**drawing, "image": picture, "strength": 0.5}
    load = {"source": "tiny", "device": "cpu", "dtype": "auto", "tokenizer": None, "ema": False,
            "config": None, "fast": None, "compile": False}  # fmt: skip
    save = {"images": [picture], "outdir": folder, "prefix": "", "img_format": "png"}
    return {
        "txt2img": (txt2img, drawing),
        "img2img": (img2img, edit),
        "inpaint": (inpaint, {**edit, "mask": Image.new("L", (24, 16), 99)}),
        "load_model": (load_model, load),
        "save_images": (save_images, save),
    }


def calls(
    model: LatentDiffusion, folder: Path, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls without end: every value in every place, shuffled by the seed, then two at once."""
    rng, known, values = Random(seed), tasks(model, folder), anything()
    once = [
        (task, {name: value}) for task in known for name in known[task][1] for value in values
    ]
    rng.shuffle(once)
    yield from once
    while True:
        task = rng.choice(list(known))
        yield task, {name: rng.choice(values) for name in rng.sample(list(known[task][1]), 2)}


def is_harmless(task: str, wrong: dict[str, Any]) -> bool:
    """False for what is no mistake, and would write outside the folder or take hours.

    What a callback raises goes through to the caller, whatever it is.
    """
    if callable(wrong.get("on_step")):
        return False
    if task == "save_images":
        return isinstance(wrong.get("outdir", ""), bytes | int | list | tuple | dict | Mute)
    if task == "load_model":
        return wrong.get("compile") is not True
    return not any(
        isinstance(v, int) and 2**12 < v for k, v in wrong.items() if k in ("height", "width")
    )


def complaint(call: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """How a call went wrong, if it went wrong in another way than it should: else nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(**arguments)
    except LabmlSdError as error:
        text = str(error)
        return "" if text.strip() and text.isprintable() else f"message {text[:200]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return ""


def fuzz(model: LatentDiffusion, folder: Path, count: int, seed: int) -> Counter[str]:
    """The complaints of `count` calls, by task and argument."""
    known, found = tasks(model, folder), Counter[str]()
    tried = (each for each in calls(model, folder, seed) if is_harmless(*each))
    for _, (task, wrong) in zip(range(count), tried, strict=False):
        call, right = known[task]
        told = complaint(call, {**right, **wrong})
        if told:
            given = " ".join(f"{name}: {type(value).__name__}" for name, value in wrong.items())
            found[f"{task} {given}: {told}"] += 1
    return found


def main() -> int:
    """Print what was found; exit code 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(load_model("tiny", device="cpu"), Path(folder), args.count, args.seed)
    for told, times in found.most_common():
        print(f"{times:4} {told}")
    print(f"{args.count} calls, {len(found)} kinds of complaint")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
