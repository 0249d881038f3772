r"""The numbers of a training run, each with its reason.

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
    restarts: tuple[int, ...] = ()  # steps at which the learning-rate schedule starts again
    weight_decay: float = 0.01
    grad_clip: float = 1.0  # largest norm of the whole gradient
    ema_decay: float = 0.0  # of the moving average of the weights; 0: no average


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(StageRecipe):
    """Learn image <-> latent."""

    n_steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 2e-3
    # Pixels a side. A crop teaches most of what a whole picture does, in a quarter of the time.
    crop: int = 64
    # From this share of the run on, whole pictures: the attention in the middle needs them.
    whole_from: float = 0.85
    # Share of the crops taken where the contrast is high: plain sky teaches little.
    busy_crops: float = 0.75
    # Share of the scenes that show a small object at night: dark on dark is the hardest.
    night_scenes: float = 0.0
    # On the L1 error of the differences between neighbouring pixels: sharp outlines.
    edge_weight: float = 1.0
    mse_weight: float = 4.0
    kl_weight: float = 5e-4  # on nats per latent number
    ema_decay: float = 0.999


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(StageRecipe):
    """Learn which caption belongs to which picture."""

    n_steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    n_hard_scenes: int = 64  # scenes of a batch that also get hard negatives
    n_hard_negatives: int = 3  # captions with one wrong attribute, for each of these scenes
    d_embed: int = 128  # width of the space that captions and pictures share
    image_channels: int = 32  # of the image tower's first layer


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(StageRecipe):
    """Learn to predict the noise in a latent, given a caption."""

    n_steps: int = 5250
    batch_size: int = 64
    learning_rate: float = 1e-3
    restarts: tuple[int, ...] = (2750,)
    ema_decay: float = 0.999
    n_scenes: int = 16_000  # encoded once, then seen many times, each time with a new caption
    full_captions: float = 0.4  # share of captions with every attribute; others omit some
    prompt_dropout: float = 0.1  # share of empty prompts: guidance needs an unconditional eps
    snr_gamma: float = 5.0  # min-SNR weight, arXiv:2303.09556, eq. 8; 0: no weight


@dataclass(frozen=True, kw_only=True)
class ImageTowerRecipe(StageRecipe):
    """Learn to see what captions say, beside a text transformer that does not change."""

    n_steps: int = 2500
    batch_size: int = 96
    learning_rate: float = 2e-3
    ema_decay: float = 0.998
    n_scenes: int = 12_000  # whose captions are read once; their pictures are always new
    n_negatives: int = 4  # full captions of scenes one change away, for each scene


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole model from scratch."""

    name: str = "tiny"
    model: ModelConfig = field(default_factory=tiny)
    n_captions: int = 20_000  # that the tokenizer learns from
    max_vocab: int = 2048  # an upper bound: learning ends when every word is one token
    autoencoder: AutoencoderRecipe = field(default_factory=AutoencoderRecipe)
    # Once the decoder draws shapes well, the mean square error matters more (SD's own decoder
    # was also fine-tuned with more weight on it), and so do whole pictures and hard scenes.
    decoder: AutoencoderRecipe = field(
        default_factory=lambda: AutoencoderRecipe(
            n_steps=19_000,
            learning_rate=1e-3,
            whole_from=0.0,
            night_scenes=0.5,
            mse_weight=20.0,
        )
    )
    clip: ClipRecipe = field(default_factory=ClipRecipe)
    diffusion: DiffusionRecipe = field(default_factory=DiffusionRecipe)
    # The network can draw already and learns to use what it sees: smaller steps, but many,
    # since what is drawn must meet the visible part to a pixel.
    inpainting: DiffusionRecipe = field(
        default_factory=lambda: DiffusionRecipe(
            n_steps=37_000,
            batch_size=32,
            learning_rate=4e-4,
            restarts=(3000, 3900, 5700, 12_000, 17_000),
        )
    )
    image_tower: ImageTowerRecipe = field(default_factory=ImageTowerRecipe)


RECIPES = {"tiny": Recipe()}
