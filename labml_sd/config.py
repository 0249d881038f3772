r"""Every number of the models, once: Stable Diffusion v1 by default, and the bundled tiny model.

Maps       nothing; frozen dataclasses with the reason or the source beside each number
Reference  CompVis configs/stable-diffusion/v1-inference.yaml; the text tower: OpenAI CLIP ViT-L/14
Tests      tests/test_config.py
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Activation = Literal["quick_gelu", "gelu"]

MAX_NUMBER = 2**20  # the largest in use is a vocabulary of 49,408
MAX_LAYERS = 128  # of anything that is repeated, and of levels: real ones have 32 at most


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """Shape of the CLIP text transformer. Defaults: CLIP ViT-L/14, the text encoder of SD v1."""

    vocab_size: int = 49408  # 256 bytes, 256 bytes that end a word, 48,894 merges, 2 specials
    n_positions: int = 77  # every prompt is cut or padded to this many tokens
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_mlp: int = 3072
    activation: Activation = "quick_gelu"  # OpenAI's CLIP; OpenCLIP (SD v2) uses the exact GELU
    norm_eps: float = 1e-5
    bos_id: int = 49406
    eos_id: int = 49407  # also the padding of SD v1

    def __post_init__(self) -> None:
        """Refuse a width that does not split into heads."""
        if self.d_model % self.n_heads:
            raise ValueError(
                f"text encoder: width {self.d_model} does not split into {self.n_heads} heads"
            )


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the U-Net. Defaults: SD v1 (v1-inference.yaml, `unet_config`)."""

    in_channels: int = 4
    out_channels: int = 4
    channels: int = 320  # width of level 0
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    attention_levels: tuple[int, ...] = (
        0,
        1,
        2,
    )  # the deepest level has none; the middle always has one
    n_res_blocks: int = 2
    n_heads: int = 8  # the same on every level, so the head size grows: 40, 80, 160
    n_transformer_layers: int = 1
    d_cond: int = 768  # width of the text embedding
    norm_groups: int = 32

    def __post_init__(self) -> None:
        """Refuse widths that do not split into heads or into norm groups."""
        for level, multiplier in enumerate(self.channel_multipliers):
            width = self.channels * multiplier
            if width % self.n_heads:
                raise ValueError(
                    f"U-Net level {level}: width {width} does not split into {self.n_heads} heads"
                )
            if width % self.norm_groups:
                raise ValueError(
                    f"U-Net level {level}: width {width} does not split into {self.norm_groups} groups"
                )
        if any(not 0 <= level < self.n_levels for level in self.attention_levels):
            raise ValueError(
                f"attention levels {self.attention_levels} for {self.n_levels} levels"
            )

    @property
    def n_levels(self) -> int:
        """Number of sizes that a feature map has inside the U-Net."""
        return len(self.channel_multipliers)

    @property
    def size_multiple(self) -> int:
        """A latent's sides must be multiples of this: the down path halves them between levels."""
        return 2 ** (self.n_levels - 1)


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the KL autoencoder. Defaults: SD v1 (v1-inference.yaml, `first_stage_config`)."""

    image_channels: int = 3
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    n_res_blocks: int = 2  # in the encoder; the decoder has one more on every level
    z_channels: int = 4
    norm_groups: int = 32
    scale_factor: float = (
        0.18215  # 1 / std of the first latents of SD's training run: unit variance
    )

    @property
    def downsampling_factor(self) -> int:
        """Pixels per side of one latent cell: 8 for four levels."""
        return 2 ** (len(self.channel_multipliers) - 1)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The noise schedule. Defaults: SD v1 (v1-inference.yaml, `linear_start` and `linear_end`)."""

    n_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012  # square roots are spaced evenly between the two ("scaled linear")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model: its networks, its schedule, and the defaults of a run."""

    name: str = "sd-v1"
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    image_size: int = 512  # pixels; the size the model was trained at
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        """Refuse networks that do not fit one another, or that nobody could build."""
        for part in (self.text_encoder, self.unet, self.autoencoder, self.schedule):
            _check_numbers(part)
        if self.unet.d_cond != self.text_encoder.d_model:
            raise ValueError(
                f"the U-Net listens to width {self.unet.d_cond}, "
                f"the text encoder speaks {self.text_encoder.d_model}"
            )

    @property
    def size_multiple(self) -> int:
        """An image's sides must be multiples of this: 64 pixels for SD."""
        return self.autoencoder.downsampling_factor * self.unet.size_multiple

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Read back what `to_dict` wrote, also after a trip through JSON (which turns tuples into lists)."""
        parts = {
            "text_encoder": TextEncoderConfig,
            "unet": UNetConfig,
            "autoencoder": AutoencoderConfig,
            "schedule": ScheduleConfig,
        }
        built = {k: parts[k](**_tuples(v)) if k in parts else v for k, v in values.items()}
        return cls(**built)


def _check_numbers(part: Any) -> None:
    """A file of a stranger says how large its networks are; merely to lay them out could take for ever."""
    for name, value in vars(part).items():
        numbers = value if isinstance(value, tuple) else (value,)
        limit = (
            MAX_LAYERS
            if name.startswith("n_") and ("layers" in name or "blocks" in name)
            else MAX_NUMBER
        )
        if len(numbers) > MAX_LAYERS or any(
            isinstance(n, int) and not 0 <= n <= limit for n in numbers
        ):
            raise ValueError(
                f"{type(part).__name__}: {name} is {str(value)[:40]}, beyond any network there is"
            )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def sd_v1() -> ModelConfig:
    """Stable Diffusion v1.1 to v1.5: one shape, other weights."""
    return ModelConfig()


def tiny(vocab_size: int = 657) -> ModelConfig:
    """Shape of the bundled model: 128x128 pixels, a latent of [4 16 16], 9.2 M parameters.

    `norm_groups` is 8, not 32: at 32 channels, 32 groups would hold one channel each and wipe
    out every channel's mean, which is what a flat sky is made of.
    """
    return ModelConfig(
        name="tiny",
        text_encoder=TextEncoderConfig(
            vocab_size=vocab_size,
            d_model=128,
            n_layers=4,
            n_heads=4,
            d_mlp=512,
            bos_id=vocab_size - 2,
            eos_id=vocab_size - 1,
        ),
        unet=UNetConfig(
            channels=64,
            channel_multipliers=(1, 2, 2),
            attention_levels=(0, 1),
            n_res_blocks=1,
            n_heads=4,
            d_cond=128,
            norm_groups=8,
        ),
        autoencoder=AutoencoderConfig(
            channels=32,
            channel_multipliers=(1, 2, 3, 3),
            n_res_blocks=1,
            norm_groups=8,
            scale_factor=1.0,  # before training; the measured one is in the bundled folder's vae/config.json
        ),
        image_size=128,
        guidance_scale=3.0,
    )
