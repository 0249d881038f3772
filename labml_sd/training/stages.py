r"""The stages in a row, each on what the one before has learnt.

Maps       a recipe, a folder  ->  a folder with tokenizer, checkpoints, curves, pictures, and the model
Tests      tests/training/test_stages.py
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.tiny.recipe import Recipe
from labml_sd.tiny.scenes import Scene
from labml_sd.training.latents import encode_scenes
from labml_sd.training.learn_bpe import learn_bpe
from labml_sd.training.loop import train
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import Task, load_average
from labml_sd.training.tasks.autoencoder import AutoencoderTask
from labml_sd.training.tasks.clip import Clip, ClipTask
from labml_sd.training.tasks.decoder import DecoderTask
from labml_sd.training.tasks.diffusion import DiffusionTask

TOKENIZER, CONFIG = "tokenizer", "model.json"  # inside the run's folder
STAGES = ("autoencoder", "decoder", "clip", "diffusion")
SHARE = {
    "autoencoder": 0.3,
    "decoder": 0.1,
    "clip": 0.15,
    "diffusion": 0.45,
}  # of a budget in minutes
SCENES_PER_MINUTE = 400  # a short run encodes fewer scenes: it will not see many of them anyway


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train: steps of each stage, or minutes for all, or (both None) as the recipe says."""

    n_steps: int | None = None
    minutes: float | None = None

    def of(self, stage: str, spent: float = 0.0) -> dict[str, Any]:
        """The loop's arguments for one stage, whose preparations took `spent` seconds."""
        minutes = None if self.minutes is None else self.minutes * SHARE[stage] - spent / 60.0
        return {"n_steps": self.n_steps, "minutes": minutes}


def prepare_tokenizer(recipe: Recipe, folder: Path, seed: int) -> Any:
    """Learn the tokenizer from captions, unless the folder has one."""
    target = folder / TOKENIZER
    if not (target / "vocab.json").exists():
        captions = (Scene.sample(seed, i).caption(seed=i) for i in range(recipe.n_captions))
        vocab, merges = learn_bpe(captions, recipe.max_vocab)
        save_tokenizer(target, vocab, merges)
    return load_tokenizer(target)


def with_vocabulary(config: ModelConfig, n_tokens: int) -> ModelConfig:
    """The configuration for the tokenizer that was learnt: its two special tokens come last."""
    text = replace(
        config.text_encoder, vocab_size=n_tokens, bos_id=n_tokens - 2, eos_id=n_tokens - 1
    )
    return replace(config, text_encoder=text)


def train_stage(
    stage: str,
    recipe: Recipe,
    folder: Path,
    budget: Budget,
    *,
    seed: int,
    device: torch.device,
    progress: bool = True,
    processes: Processes = ALONE,
) -> None:
    """Run or go on with one stage. Raises CheckpointError when an earlier stage is missing."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with processes.main_first():
        tokenizer = prepare_tokenizer(recipe, folder, seed)
    recipe = replace(recipe, model=with_vocabulary(recipe.model, len(tokenizer)))
    progress = progress and processes.is_main
    task: Task
    if stage == "autoencoder":
        task = AutoencoderTask(recipe, seed, device, processes)
    elif stage == "decoder":
        task = DecoderTask(recipe, folder, seed, device, processes)
    elif stage == "clip":
        task = ClipTask(recipe, tokenizer, seed, device, processes)
    else:
        model = first_stages(recipe.model, recipe, tokenizer, folder).to(device).eval()
        n_scenes = scenes_to_encode(recipe, budget)
        with processes.main_first():
            size = recipe.model.image_size
            latents = encode_scenes(
                model.autoencoder, seed, n_scenes, size, folder, progress=progress
            )
        set_scale(model, latents.scale_factor)
        if processes.is_main:
            (folder / CONFIG).write_text(
                json.dumps(model.config.to_dict(), indent=2) + "\n", encoding="utf-8"
            )
        task = DiffusionTask(recipe, model, latents, seed, processes)
    loop_budget = budget.of(stage, spent=time.monotonic() - started)
    train(task, folder, progress=progress, processes=processes, **loop_budget)


def scenes_to_encode(recipe: Recipe, budget: Budget) -> int:
    """How many scenes the diffusion stage learns from."""
    if budget.minutes is None:
        return recipe.diffusion.n_scenes
    return min(recipe.diffusion.n_scenes, max(1000, int(SCENES_PER_MINUTE * budget.minutes)))


def first_stages(
    config: ModelConfig, recipe: Recipe, tokenizer: Any, folder: Path
) -> LatentDiffusion:
    """The model with its autoencoder and text encoder trained; its U-Net still random."""
    model = LatentDiffusion(config, tokenizer)
    load_average(model.autoencoder, folder, "decoder")
    clip = Clip(config.text_encoder, recipe.clip, config.image_size)
    load_average(clip, folder, "clip")
    model.text_encoder.transformer.load_state_dict(clip.text.state_dict())
    return model


def set_scale(model: LatentDiffusion, scale_factor: float) -> None:
    """Write the measured scale into the model's configuration; five digits, as SD's 0.18215 has."""
    scaled = replace(model.config.autoencoder, scale_factor=round(scale_factor, 5))
    model.config = replace(model.config, autoencoder=scaled)
    model.autoencoder.config = scaled


def assemble(recipe: Recipe, folder: Path) -> LatentDiffusion:
    """The finished model, from the averages of the stages. CheckpointError when one is missing."""
    path = folder / CONFIG
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; train the stage 'diffusion' first")
    config = ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    model = first_stages(config, recipe, load_tokenizer(folder / TOKENIZER), folder)
    load_average(model.unet, folder, "diffusion")
    return model.eval()
