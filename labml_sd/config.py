r"""Every number of the models: Stable Diffusion v1 by default, v2, and the tiny model.

Maps       nothing; frozen dataclasses with the source of or the reason for each number
Reference  CompVis configs/stable-diffusion/v1-inference.yaml; text: OpenAI CLIP ViT-L/14
Tests      tests/test_config.py
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

Activation = Literal["quick_gelu", "gelu"]
PredictionKind = Literal["eps", "v"]

MAX_NUMBER = 2**20  # the largest in use is a vocabulary of 49,408
MAX_LAYERS = 128  # and the largest number of levels; real networks have 32 at most


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """Shape of the CLIP text transformer. Defaults: CLIP ViT-L/14, as in SD v1."""

    vocab_size: int = 49408  # 256 bytes, 256 bytes that end a word, 48,894 merges, 2 specials
    n_positions: int = 77  # of a chunk of a prompt: 75 tokens and two markers
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_mlp: int = 3072
    activation: Activation = "quick_gelu"  # OpenAI's CLIP; OpenCLIP (SD v2) uses the exact GELU
    norm_eps: float = 1e-5
    bos_id: int = 49406
    eos_id: int = 49407
    pad_id: int | None = None  # after the end marker; None: more end markers, as in SD v1

    def __post_init__(self) -> None:
        """Raise ValueError if the width is not a multiple of the number of heads."""
        if self.d_model % self.n_heads:
            raise ValueError(
                f"text encoder: width {self.d_model} does not split into {self.n_heads} heads"
            )


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the U-Net. Defaults: SD v1 (`unet_config` in the yaml)."""

    in_channels: int = 4
    out_channels: int = 4
    channels: int = 320  # width of level 0
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    # The deepest level has no attention, the middle block always has.
    attention_levels: tuple[int, ...] = (0, 1, 2)
    n_res_blocks: int = 2
    n_heads: int = 8  # on every level, so the head size is 40, 80 or 160
    d_head: int | None = None  # SD v2: 64 on every level, so the number of heads is 5, 10 or 20
    n_transformer_layers: int = 1
    d_cond: int = 768  # width of the text embedding
    norm_groups: int = 32
    # SD v2: tokens enter and leave a spatial transformer by a linear layer, not a 1x1
    # convolution. Both compute the same.
    linear_projections: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if a width is not a multiple of the numbers of heads and groups."""
        for level, multiplier in enumerate(self.channel_multipliers):
            width = self.channels * multiplier
            for n, name in (
                (self.d_head or self.n_heads, "channels a head" if self.d_head else "heads"),
                (self.norm_groups, "groups"),
            ):
                if width % n:
                    raise ValueError(
                        f"U-Net level {level}: width {width} does not split into {n} {name}"
                    )
        if any(not 0 <= level < self.n_levels for level in self.attention_levels):
            raise ValueError(
                f"attention levels {self.attention_levels} for {self.n_levels} levels"
            )

    def heads(self, width: int) -> int:
        """The number of heads of attention over `width` channels."""
        return self.n_heads if self.d_head is None else width // self.d_head

    @property
    def n_levels(self) -> int:
        """Number of sizes of feature maps inside the U-Net."""
        return len(self.channel_multipliers)

    @property
    def size_multiple(self) -> int:
        """The sides of a latent must be multiples of this, since each level halves them."""
        return 2 ** (self.n_levels - 1)


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the KL autoencoder. Defaults: SD v1 (`first_stage_config` in the yaml)."""

    image_channels: int = 3
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    n_res_blocks: int = 2  # of a level of the encoder; the decoder's levels have one more
    z_channels: int = 4
    norm_groups: int = 32
    scale_factor: float = 0.18215  # 1 / standard deviation of the latents in SD's training

    @property
    def downsampling_factor(self) -> int:
        """Pixels per side of one latent position: 8 for four levels."""
        return 2 ** (len(self.channel_multipliers) - 1)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The noise schedule. Defaults: SD v1 (`linear_start`, `linear_end` in the yaml)."""

    n_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012  # sqrt(beta) is linear between the two ("scaled linear")
    zero_snr: bool = False  # alpha_bar shifted and scaled so that the last level is pure noise


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model: networks, noise schedule, and defaults for generation."""

    name: str = "sd-v1"
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction: PredictionKind = "eps"  # what the U-Net predicts: the noise, or v
    image_size: int = 512  # pixels a side, at which the model was trained
    guidance_scale: float = 7.5

    def __post_init__(self) -> None:
        """Raise ValueError for networks that do not fit together or are impossibly large."""
        if self.prediction not in get_args(PredictionKind):
            raise ValueError(f"prediction is {self.prediction!r}; expected eps or v")
        if self.schedule.zero_snr and self.prediction == "eps":
            raise ValueError("zero_snr needs prediction v: noise says nothing of pure noise")
        for part in (self.text_encoder, self.unet, self.autoencoder, self.schedule):
            _check_numbers(part)
        if self.unet.d_cond != self.text_encoder.d_model:
            raise ValueError(
                f"the U-Net's d_cond is {self.unet.d_cond}, the text encoder's d_model "
                f"{self.text_encoder.d_model}; they must be equal"
            )
        if self.unet.out_channels != self.autoencoder.z_channels:
            raise ValueError(
                f"the U-Net's latents have {self.unet.out_channels} channels, "
                f"the autoencoder's {self.autoencoder.z_channels}; they must be equal"
            )

    @property
    def for_inpainting(self) -> bool:
        """Whether the U-Net has input channels for a mask and the visible picture: 9, not 4."""
        return self.unet.in_channels == _inpainting_channels(self)

    @property
    def size_multiple(self) -> int:
        """The sides of an image must be multiples of this: 64 pixels for SD v1."""
        return self.autoencoder.downsampling_factor * self.unet.size_multiple

    def to_dict(self) -> dict[str, Any]:
        """As dictionaries and tuples, which can be written as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`, also after JSON, which turns tuples into lists."""
        parts = {
            "text_encoder": TextEncoderConfig,
            "unet": UNetConfig,
            "autoencoder": AutoencoderConfig,
            "schedule": ScheduleConfig,
        }
        built = {k: parts[k](**_tuples(v)) if k in parts else v for k, v in values.items()}
        return cls(**built)


def _check_numbers(part: Any) -> None:
    """Raise ValueError for sizes in an untrusted file that would take hours to build."""
    for name, value in vars(part).items():
        numbers = value if isinstance(value, tuple) else (value,)
        repeated = name.startswith("n_") and ("layers" in name or "blocks" in name)
        limit = MAX_LAYERS if repeated else MAX_NUMBER
        out_of_range = any(isinstance(n, int) and not 0 <= n <= limit for n in numbers)
        if out_of_range or len(numbers) > MAX_LAYERS:
            raise ValueError(
                f"{type(part).__name__}: {name} is {str(value)[:40]}; "
                f"expected at most {MAX_LAYERS} numbers from 0 to {limit}"
            )


def _tuples(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"expected a dictionary, found {type(values).__name__}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def sd_v1() -> ModelConfig:
    """Stable Diffusion v1.1 to v1.5, which differ in their weights only."""
    return ModelConfig()


def sd_v2(prediction: PredictionKind = "v") -> ModelConfig:
    """Stable Diffusion 2 and 2.1, which predict v at 768 pixels; their base models eps at 512.

    Text: OpenCLIP ViT-H/14, of whose 24 layers the last is not used. Source: Stability-AI
    configs/stable-diffusion/v2-inference-v.yaml and v2-inference.yaml.
    """
    return ModelConfig(
        name="sd-v2" if prediction == "v" else "sd-v2-base",
        text_encoder=TextEncoderConfig(
            d_model=1024, n_layers=23, n_heads=16, d_mlp=4096, activation="gelu", pad_id=0
        ),
        unet=UNetConfig(d_cond=1024, d_head=64, linear_projections=True),
        prediction=prediction,
        image_size=768 if prediction == "v" else 512,
    )


def inpainting(config: ModelConfig) -> ModelConfig:
    """The same, for a U-Net that also sees the mask and the latent of what it leaves visible.

    Source: CompVis configs/stable-diffusion/v1-inpainting-inference.yaml, `in_channels: 9`.
    """
    unet = replace(config.unet, in_channels=_inpainting_channels(config))
    return replace(config, name=f"{config.name}-inpainting", unet=unet)


def _inpainting_channels(config: ModelConfig) -> int:
    """The noisy latent, the mask, and the latent of the visible picture."""
    return config.unet.out_channels + 1 + config.autoencoder.z_channels


def tiny(vocab_size: int = 657) -> ModelConfig:
    """Shape of the bundled model: 128x128 pixels, a latent of [4 16 16], 9.2 M parameters.

    `norm_groups` is 8, not 32: 32 groups of 32 channels would normalise each channel by itself
    and remove its mean, which carries the colour of large flat areas.
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
            scale_factor=1.0,  # replaced by the measured scale after training
        ),
        image_size=128,
        guidance_scale=3.0,
    )
