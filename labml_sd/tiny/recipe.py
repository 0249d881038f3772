r"""The numbers of a training run, with the reason beside each.

Maps       nothing; frozen dataclasses
Tests      tests/tiny/test_recipe.py
"""

from dataclasses import dataclass, field

from labml_sd.config import ModelConfig, tiny


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """What every stage needs."""

    n_steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 100  # steps; Adam's first estimates of the variance are poor
    restarts: tuple[
        int, ...
    ] = ()  # steps at which the learning rate rises once more: a longer run
    weight_decay: float = 0.01
    grad_clip: float = 1.0  # norm of the whole gradient
    ema_decay: float = 0.0  # 0: keep no average of the weights


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(StageRecipe):
    """Learn image <-> latent."""

    n_steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 2e-3
    crop: int = (
        64  # pixels; teaches most of what a whole picture does, in a quarter of the time
    )
    # From this share of the run on, whole pictures: the middle's attention must see them.
    whole_from: float = 0.85
    busy_crops: float = (
        0.75  # share of the crops that are taken where most happens: flat sky teaches little
    )
    edge_weight: float = (
        1.0  # on the L1 error of the differences between neighbours: sharp outlines
    )
    mse_weight: float = 4.0
    kl_weight: float = 5e-4  # on nats per latent number
    ema_decay: float = 0.999


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(StageRecipe):
    """Learn which caption belongs to which picture."""

    n_steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    n_hard: int = 64  # scenes of a batch that are also told from near misses
    n_misses: int = 3  # captions that are almost right, for each of them
    d_embed: int = 128  # width of the space where pictures and captions meet
    image_channels: int = 32  # of the image tower's first layer


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(StageRecipe):
    """Learn to tell the noise in a latent, given a caption."""

    n_steps: int = 5250
    batch_size: int = 64
    learning_rate: float = 1e-3
    restarts: tuple[int, ...] = (2750,)
    ema_decay: float = 0.999
    n_scenes: int = (
        16_000  # encoded once by the frozen autoencoder, then seen again with new captions
    )
    full_captions: float = (
        0.4  # share of captions that name every attribute; the others leave parts out
    )
    prompt_dropout: float = (
        0.1  # share of empty prompts: guidance needs to know the unconditional answer
    )
    snr_gamma: float = (
        5.0  # min-SNR weight, Hang et al. 2023, arXiv:2303.09556, eq. 8; 0: plain mean
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole model from scratch."""

    name: str = "tiny"
    model: ModelConfig = field(default_factory=tiny)
    n_captions: int = 20_000  # the tokenizer's reading matter
    max_vocab: int = 2048  # a bound: the vocabulary ends where every word is one token
    autoencoder: AutoencoderRecipe = field(default_factory=AutoencoderRecipe)
    # Once shapes stand, the mean square error decides: SD's own decoder was fine-tuned with
    # more of it, too.
    decoder: AutoencoderRecipe = field(
        default_factory=lambda: AutoencoderRecipe(n_steps=5500, mse_weight=10.0)
    )
    clip: ClipRecipe = field(default_factory=ClipRecipe)
    diffusion: DiffusionRecipe = field(default_factory=DiffusionRecipe)


RECIPES = {"tiny": Recipe()}
