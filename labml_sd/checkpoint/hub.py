r"""Models by name from the Hugging Face hub, through its own client with its cache.

Maps       a hub id ("owner/name") -> a folder on this disk with the files of a model, no others
Tests      tests/checkpoint/test_hub.py
"""

import re
from collections.abc import Sequence
from pathlib import Path

from labml_sd.checkpoint.layouts.diffusers_folder import FOLDERS, STEMS, find_weights
from labml_sd.errors import CheckpointError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILE_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
SETTINGS = (
    "model_index.json",
    "labml_sd.json",
    "*/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/*",
)

# Repositories contain the same weights up to four times. The first complete set is used.
ENDINGS = (
    (".safetensors", "-*.safetensors", ".safetensors.index.json"),
    (
        ".fp16.safetensors",
        ".fp16-*.safetensors",
        "-*.fp16.safetensors",
        ".safetensors.index.fp16.json",
    ),
    (".bin", "-*.bin", ".bin.index.json"),
    (".fp16.bin",),
)


def is_hub_id(source: str) -> bool:
    """True for `owner/name`; a name with the ending of a weights file is a file."""
    return HUB_ID.fullmatch(source) is not None and not source.endswith(FILE_ENDINGS)


def fetch_model(hub_id: str) -> Path:
    """Return the folder of a diffusers model, downloaded unless it is in the cache.

    Raises CheckpointError when that fails, with the command that downloads it.
    """
    includes = ("*.json", "tokenizer/*", "*/*model.safetensors")
    command = f"hf download {hub_id} " + " ".join(f"--include '{i}'" for i in includes)
    for endings in ENDINGS:
        patterns = [
            f"{f}/{stem}{e}"
            for part, f in FOLDERS.items()
            for stem in STEMS[part]
            for e in endings
        ]
        folder = snapshot(hub_id, [*SETTINGS, *patterns], command)
        if all(find_weights(folder, part) for part in FOLDERS):
            return folder
    raise CheckpointError(
        f"{hub_id}: no complete diffusers model there; to get all of it: hf download {hub_id}"
    )


def snapshot(hub_id: str, patterns: Sequence[str], command: str) -> Path:
    """Ask the hub's client. It fails in many ways, which all get the same advice."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=list(patterns)))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CheckpointError(
            f"{hub_id}: cannot be downloaded ({reason}); when online, run: {command}"
        ) from error
