"""Cells of the encoder, the decoder and the text encoder, each alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ledger
import torch
from cells import Cell, Comparison, Setting, timed_if_agreed
from files import tokenizer
from networks import our_model
from ours import decoding, embedding, encoding, variants
from rival_diffusers import settings_of, twin
from rival_engines import engines
from rival_labml import labml
from torch import Tensor

from labml_sd.latent_diffusion import LatentDiffusion

PROMPTS = ["a red house in the snow at night", "a boat"] * 4


def autoencoders(
    setting: Setting, dtype: torch.dtype
) -> tuple[LatentDiffusion, dict[str, Any]]:
    """Ours, and diffusers' in each setting, all on the same random weights."""
    ours = our_model(["autoencoder"], dtype, setting.device, config=setting.config)
    return ours, settings_of(twin("autoencoder", ours.autoencoder, ours.config), setting)


def our_call(
    model: LatentDiffusion, what: str, given: dict[str, Tensor]
) -> Callable[[], Tensor]:
    """As the pipelines call it."""
    if what == "decode":
        return decoding(model, given["z"].to(model.device))
    return encoding(model, given["image"].to(model.device))


def their_call(vae: Any, what: str, given: dict[str, Tensor]) -> Callable[[], Tensor]:
    """As diffusers' pipeline calls it, with the scale."""
    scale = vae.config.scaling_factor
    if what == "decode":
        z = given["z"].to(vae.device, vae.dtype)
        return lambda: vae.decode(z / scale, return_dict=False)[0]
    image = given["image"].to(vae.device, vae.dtype)
    return lambda: scale * vae.encode(image).latent_dist.mode()


@contextmanager
def autoencoder(
    setting: Setting, *, what: str, size: int, dtype: torch.dtype
) -> Iterator[Comparison]:
    """Encoding or decoding ("encode", "decode") at one size."""
    ours, theirs = setting.shelf.get(
        ("autoencoder", dtype), lambda: autoencoders(setting, dtype)
    )
    generator = torch.Generator().manual_seed(0)
    given = {
        "z": torch.randn(1, 4, size // 8, size // 8, generator=generator),
        "image": torch.rand(1, 3, size, size, generator=generator) * 2 - 1,
    }
    models = variants(ours, plain=setting.plain)
    calls = {name: our_call(model, what, given) for name, model in models.items()}
    calls |= {name: their_call(vae, what, given) for name, vae in theirs.items()}
    labml_can = dtype == torch.float32 and setting.device.type == "cpu" and size <= 512
    python = setting.labml_python if labml_can else None
    first = next(iter(theirs.values()))
    with (
        labml(python, "autoencoder", what, ours.autoencoder, given, setting.files) as child,
        engines(setting, what, first, given, dtype) as others,
    ):
        runs = timed_if_agreed(calls, dtype, setting.device, child | others)
        count = ledger.decode if what == "decode" else ledger.encode
        flops = count(size, setting.config).total
        warm_ups = 5 if setting.device.type == "cuda" else 0
        yield Comparison(runs=runs, flops=flops, dtype=dtype, warm_ups=warm_ups)


def texts(setting: Setting, dtype: torch.dtype) -> tuple[LatentDiffusion, Any]:
    """Ours and transformers', with the same tokenizer."""
    ours = our_model(["text_encoder"], dtype, setting.device, tokenizer(setting.files))
    return ours, twin("text_encoder", ours.text_encoder.transformer, ours.config)


@contextmanager
def text(setting: Setting, *, n_prompts: int, dtype: torch.dtype) -> Iterator[Comparison]:
    """Prompts to embeddings, with the tokenizer. transformers' has one setting only."""
    ours, theirs = setting.shelf.get(("text", dtype), lambda: texts(setting, dtype))
    prompts, words = PROMPTS[:n_prompts], ours.text_encoder.tokenizer

    def call_theirs() -> Tensor:
        ids = words(
            prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        return theirs(ids.to(setting.device))[0]

    calls: dict[str, Callable[[], Tensor]] = {
        name: embedding(model, prompts)
        for name, model in variants(ours, plain=setting.plain).items()
    }
    calls["diffusers"] = call_theirs
    runs = timed_if_agreed(calls, dtype, setting.device)
    yield Comparison(
        runs=runs,
        flops=ledger.text(n_prompts).total,
        dtype=dtype,
        pictures=n_prompts,
        warm_ups=3,
    )


def cells() -> list[Cell]:
    """Cells of one network follow one another, so that it is made once."""
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        number = str(dtype).removeprefix("torch.")
        for what in ("decode", "encode"):
            for size in (512, 1024):
                enter = partial(autoencoder, what=what, size=size, dtype=dtype)
                name = f"VAE {what} {size}, {number}"
                found.append(Cell(name=name, enter=enter, quick=size == 512, dtype=dtype))
    for dtype in (torch.bfloat16, torch.float32):
        number = str(dtype).removeprefix("torch.")
        for n in (1, 8):
            name = f"text encoder, {n} prompt{'s' * (n > 1)}, {number}"
            enter = partial(text, n_prompts=n, dtype=dtype)
            found.append(Cell(name=name, enter=enter, dtype=dtype))
    return found
