r"""The stages in order, each starting from the results of the earlier ones.

Maps       a recipe, a folder  ->  tokenizer, checkpoints, curves and pictures in the folder
           the folder  ->  LatentDiffusion
Tests      tests/training/test_stages.py
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from labml_sd.config import ModelConfig, PredictionKind
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import check_seed
from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.latents import encode_masked, encode_scenes
from labml_sd.training.learn_bpe import learn_bpe
from labml_sd.training.loop import train
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import Task, load_average
from labml_sd.training.state_files import run_folder
from labml_sd.training.tasks.autoencoder import AutoencoderTask
from labml_sd.training.tasks.clip import Clip, ClipTask
from labml_sd.training.tasks.decoder import DecoderTask
from labml_sd.training.tasks.diffusion import DiffusionTask, fresh_unet
from labml_sd.training.tasks.image_tower import ImageTowerTask
from labml_sd.training.tasks.inpainting import InpaintingTask, widen

# Inside the run's folder.
TOKENIZER, CONFIG, TOWER = "tokenizer", "model.json", "image_tower.safetensors"
STAGES = ("autoencoder", "decoder", "clip", "diffusion")  # of a model from scratch
FROM_MODEL = ("decoder", "diffusion", "inpainting", "image_tower")  # can start from a model
# Of the minutes for all stages.
SHARE = {
    **{"autoencoder": 0.3, "decoder": 0.1, "clip": 0.15, "diffusion": 0.45},
    **{"inpainting": 1.0, "image_tower": 1.0},
}
SCENES_PER_MINUTE = 400  # of them: a short run has no time to learn from more


def prepare_tokenizer(recipe: Recipe, folder: Path, seed: int) -> Any:
    """Load the folder's tokenizer; learn it from captions if there is none."""
    target = folder / TOKENIZER
    if not (target / "vocab.json").exists():
        captions = (Scene.sample(seed, i).caption(seed=i) for i in range(recipe.n_captions))
        vocab, merges = learn_bpe(captions, recipe.max_vocab)
        save_tokenizer(target, vocab, merges)
    return load_tokenizer(target)


def with_vocabulary(config: ModelConfig, n_tokens: int) -> ModelConfig:
    """The configuration for `n_tokens` tokens, of which the last two are the special ones."""
    last = n_tokens - 1
    text = replace(config.text_encoder, vocab_size=n_tokens, bos_id=last - 1, eos_id=last)
    return replace(config, text_encoder=text)


def train_stage(
    stage: str,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    n_steps: int | None = None,
    minutes: float | None = None,
    progress: bool = True,
    processes: Processes = ALONE,
    init: LatentDiffusion | None = None,
) -> None:
    """Run or resume one stage, for `n_steps`, for its share of `minutes`, or as in the recipe.

    `init` is a finished model in float32, which the stages of `FROM_MODEL` train further, in
    place of earlier stages. Its networks are changed.

    Raises CheckpointError if an earlier stage is missing, if the folder cannot be written, or
    if it holds this stage of another seed or recipe; GenerationError for a seed out of range,
    or a stage that cannot start from `init`.
    """
    started = time.monotonic()
    check_seed(seed)
    check_init(stage, init)
    with run_folder(folder):
        if init is None:
            with processes.main_first():
                tokenizer = prepare_tokenizer(recipe, folder, seed)
        else:
            tokenizer = continued(init, folder).text_encoder.tokenizer
        config = with_vocabulary(recipe.model, len(tokenizer)) if init is None else init.config
        recipe = replace(recipe, model=config)
        progress = progress and processes.is_main
        task: Task
        if stage == "autoencoder":
            task = AutoencoderTask(recipe, seed, device, processes)
        elif stage == "decoder":
            task = DecoderTask(recipe, folder, seed, device, processes, init=init)
        elif stage == "clip":
            task = ClipTask(recipe, tokenizer, seed, device, processes)
        elif stage == "image_tower":
            model = (init or assemble(recipe, folder)).to(device).eval()
            n = n_scenes(recipe.image_tower.n_scenes, minutes)
            task = ImageTowerTask(recipe, model, folder, n, seed, device, processes, progress)
        else:
            n = n_scenes(recipe.diffusion.n_scenes, minutes)
            task = unet_task(stage, recipe, folder, seed, n, device, processes, init, progress)
        if minutes is not None:
            minutes = minutes * SHARE[stage] - (time.monotonic() - started) / 60.0
        budget: dict[str, Any] = {"n_steps": n_steps, "minutes": minutes}
        trained = train(task, folder, **budget, progress=progress, processes=processes)
        if isinstance(task, ImageTowerTask) and processes.is_main:
            task.write(trained, folder / TOWER)


def unet_task(
    stage: str,
    recipe: Recipe,
    folder: Path,
    seed: int,
    n: int,
    device: torch.device,
    processes: Processes,
    init: LatentDiffusion | None,
    progress: bool,
) -> DiffusionTask:
    """The stage "diffusion" or "inpainting" on `n` scenes.

    It trains the U-Net of `init` further. Without one, "diffusion" trains a new U-Net on the
    earlier stages of the folder, and "inpainting" the U-Net of the folder.
    """
    is_new = init is None and stage == "diffusion"
    if is_new:
        model = first_stages(recipe.model, recipe, load_tokenizer(folder / TOKENIZER), folder)
    else:
        model = init or assemble(recipe, folder)
    model = model.to(device).eval()
    latents = encoded_for(encode_scenes, model, folder, seed, n, processes, progress)
    if is_new:
        set_scale(model, latents.scale_factor)
        model.unet = fresh_unet(model.config.unet, seed).to(device)
    if stage == "diffusion":
        write_config(model, folder, processes)
        return DiffusionTask(recipe, model, latents, seed, processes)
    masked = encoded_for(encode_masked, model, folder, seed, n, processes, progress)
    return InpaintingTask(recipe, model, latents, masked, seed, processes)


def check_init(stage: str, init: LatentDiffusion | None) -> None:
    """GenerationError for a stage that cannot start from a finished model."""
    if init is not None and stage not in FROM_MODEL:
        raise GenerationError(
            f"stage {stage!r} cannot start from a finished model: use {' or '.join(FROM_MODEL)}"
        )


def encoded_for(
    encode: Callable[..., Any],
    model: LatentDiffusion,
    folder: Path,
    seed: int,
    n: int,
    processes: Processes,
    progress: bool,
) -> Any:
    """What `encode` makes of `n` scenes, or what the folder has of an earlier call."""
    size = model.config.image_size
    with processes.main_first():
        return encode(model.autoencoder, seed, n, size, folder, progress=progress)


def n_scenes(n: int, minutes: float | None) -> int:
    """How many of `n` scenes are encoded: fewer if a run has little time to learn from them."""
    return n if minutes is None else min(n, max(1000, int(SCENES_PER_MINUTE * minutes)))


def write_config(model: LatentDiffusion, folder: Path, processes: Processes) -> None:
    """The model's configuration, with the scale of its latents, for `assemble`."""
    if processes.is_main:
        text = json.dumps(model.config.to_dict(), indent=2) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")


def read_config(folder: Path) -> ModelConfig:
    """What `write_config` wrote. Raises CheckpointError if it is missing or damaged."""
    path = folder / CONFIG
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; train the stage 'diffusion' first")
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: damaged ({error}); train the stage 'diffusion' again"
        ) from error


def check_prediction(folder: Path, prediction: PredictionKind) -> None:
    """CheckpointError if the folder's U-Net has been trained to predict something else."""
    if (folder / "diffusion.pt").exists():
        trained = read_config(folder).prediction
        if trained != prediction:
            raise CheckpointError(
                f"{folder}: its U-Net was trained to predict {trained}, not {prediction}; "
                "choose another folder"
            )


def first_stages(
    config: ModelConfig, recipe: Recipe, tokenizer: Any, folder: Path
) -> LatentDiffusion:
    """The model with a trained autoencoder and text encoder, and a random U-Net."""
    model = LatentDiffusion(config, tokenizer)
    load_average(model.autoencoder, folder, "decoder")
    clip = Clip(config.text_encoder, recipe.clip, config.image_size)
    load_average(clip, folder, "clip")
    model.text_encoder.transformer.load_state_dict(clip.text.state_dict())
    return model


def continued(init: LatentDiffusion, folder: Path) -> LatentDiffusion:
    """`init` with the networks that a run in this folder has trained further.

    What its U-Net predicts is what the run has trained it to predict.
    """
    if (folder / "diffusion.pt").exists():
        init.config = replace(init.config, prediction=read_config(folder).prediction)
    if (folder / "inpainting.pt").exists():
        widen(init)
    networks = {
        "decoder": init.autoencoder,
        "diffusion": init.unet,
        "inpainting": init.unet,
    }
    for stage, network in networks.items():
        if (folder / f"{stage}.pt").exists():
            load_average(network, folder, stage)
        network.requires_grad_(True)
    return init


def set_scale(model: LatentDiffusion, scale_factor: float) -> None:
    """Set the measured latent scale, rounded to five digits like SD's 0.18215."""
    scaled = replace(model.config.autoencoder, scale_factor=round(scale_factor, 5))
    model.config = replace(model.config, autoencoder=scaled)
    model.autoencoder.config = scaled


def assemble(
    recipe: Recipe, folder: Path, init: LatentDiffusion | None = None
) -> LatentDiffusion:
    """The finished model; what the run did not train is that of `init`.

    Raises CheckpointError if a file is missing or damaged.
    """
    if init is not None:
        return continued(init, folder).eval()
    config = read_config(folder)
    model = first_stages(config, recipe, load_tokenizer(folder / TOKENIZER), folder)
    load_average(model.unet, folder, "diffusion")
    return model.eval()
