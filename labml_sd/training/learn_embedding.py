r"""Learns an embedding from a folder of pictures: data, task and loop put together.

Maps       LatentDiffusion, a folder of pictures, a word to start from  ->  Embedding
Tests      tests/training/test_learn_embedding.py
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from labml_sd.adapters.textual_inversion import Embedding
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import check_seed
from labml_sd.tiny.recipe import DiffusionRecipe
from labml_sd.training.gradient_checkpointing import checkpoint_blocks
from labml_sd.training.loop import train
from labml_sd.training.pictures import encode_pictures, picture_files, square_batch
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.state_files import run_folder
from labml_sd.training.tasks.embedding import (
    EmbeddingTask,
    check_templates,
    default_rate,
    known_templates,
    start_from,
)
from labml_sd.utilities.replace import whole_file

SETTINGS = "embedding.json"  # in the folder of the run


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """What is learned, from what."""

    token: str  # the new word
    init: str  # the word whose vector it starts from
    vectors: int = 1
    templates: tuple[str, ...] = ()  # captions with {} for the word; (): chosen for the model
    mirror: bool = True  # learn from the mirror images too
    size: int | None = None  # pixels a side; None: the model's
    steps: int = 500
    batch_size: int = 8
    learning_rate: float | None = None  # None: in proportion to the model's token embeddings
    snr_gamma: float = 5.0  # min-SNR weight, as in training the U-Net; 0: none, as in the paper


def learn_embedding(
    model: LatentDiffusion,
    data: Path,
    settings: EmbeddingSettings,
    folder: Path,
    *,
    seed: int = 0,
    n_steps: int | None = None,
    minutes: float | None = None,
    gradient_checkpointing: bool = False,
    processes: Processes = ALONE,
    progress: bool = True,
) -> Embedding:
    """Learn the vectors of a new word from the pictures in `data`, or resume it in `folder`.

    `model` is in float32 and is not changed. `n_steps` and `minutes` as in `train`.

    Raises ImageError if there are no pictures, PromptError for a word that cannot be used,
    GenerationError for a number out of range, and CheckpointError if the folder cannot be
    written or has a run with other settings.
    """
    check_seed(seed)
    _check_numbers(settings)
    start = start_from(model, settings.token, settings.init, settings.vectors)
    templates = check_templates(
        settings.templates or known_templates(model.text_encoder.tokenizer)
    )
    size = settings.size or model.config.image_size
    images = square_batch(picture_files(data), size)
    rate = settings.learning_rate or default_rate(model.text_encoder)
    given = {**asdict(settings), "templates": list(templates), "size": size}
    given |= {"learning_rate": rate, "data": _digest(images), "model": _model_digest(model)}
    with run_folder(folder):
        with processes.main_first():
            _check_same(folder / SETTINGS, given)
        if gradient_checkpointing:
            checkpoint_blocks(model.unet)
        latents = encode_pictures(model.autoencoder, images, mirror=settings.mirror)
        recipe = _recipe(settings, rate)
        task = EmbeddingTask(recipe, model.eval(), latents, start, templates, seed, processes)
        train(
            task,
            folder,
            n_steps=n_steps,
            minutes=minutes,
            progress=progress,
            processes=processes,
        )
    return task.learned


def _recipe(settings: EmbeddingSettings, rate: float) -> DiffusionRecipe:
    """The numbers of the loop: no weight decay, which would move vectors for no reason."""
    return DiffusionRecipe(
        n_steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=rate,
        restarts=(),
        weight_decay=0.0,
        ema_decay=0.0,
        snr_gamma=settings.snr_gamma,
    )


def _check_numbers(settings: EmbeddingSettings) -> None:
    for name in ("vectors", "batch_size", "steps"):
        if getattr(settings, name) < 1:
            raise GenerationError(f"{name} is {getattr(settings, name)}; give 1 or more")
    if settings.size is not None and (settings.size < 64 or settings.size % 64):
        raise GenerationError(f"size is {settings.size}; give a multiple of 64 pixels")
    if settings.learning_rate is not None and not 0 < settings.learning_rate < 1:
        raise GenerationError(
            f"learning_rate is {settings.learning_rate}; give a number between 0 and 1"
        )


def _check_same(path: Path, given: dict[str, object]) -> None:
    """Note the settings of a run, or compare them with what an earlier call noted."""
    free = {"steps"}  # a run may be given more steps
    if not path.exists():
        with whole_file(path) as new:
            new.write_text(json.dumps(given, indent=2) + "\n", encoding="utf-8")
        return
    try:
        noted = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged; delete it, or choose another folder"
        ) from error
    other = [k for k, v in given.items() if k not in free and noted.get(k) != v]
    if other:
        raise CheckpointError(
            f"{path.parent}: has a run with another {', '.join(other)}; give the same to "
            "resume it, or choose another folder"
        )


def _digest(*tensors: Float[Tensor, "..."]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _model_digest(model: LatentDiffusion) -> str:
    """Tells one model from another by some of its weights."""
    table = model.text_encoder.transformer.embeddings.token_embedding.weight
    return _digest(table, *model.unet.out.parameters())
