r"""Read a model's configuration from the files of a diffusers folder.

A value that the networks here cannot have raises CheckpointError with the field's name: with a
wrong activation or padding the weights would load, and give wrong pictures.

Maps       config.json of unet, vae, text_encoder; scheduler_config.json -> parts of ModelConfig
Reference  names and defaults: diffusers UNet2DConditionModel and AutoencoderKL, transformers
           CLIPTextConfig
Tests      tests/checkpoint/layouts/test_configs.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labml_sd.config import (
    AutoencoderConfig,
    PredictionKind,
    ScheduleConfig,
    TextEncoderConfig,
    UNetConfig,
)
from labml_sd.errors import CheckpointError

# Fields with only one possible value for the networks here; a file may omit them or say null.
UNET_FIXED = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "addition_embed_type": None,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
VAE_FIXED = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "latents_mean": None,
    "latents_std": None,
    "mid_block_add_attention": True,
    "shift_factor": None,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
SCHEDULE_FIXED = {
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
}
PREDICTIONS: dict[str, PredictionKind] = {"epsilon": "eps", "v_prediction": "v"}
DOWN = {True: "CrossAttnDownBlock2D", False: "DownBlock2D"}
UP = {True: "CrossAttnUpBlock2D", False: "UpBlock2D"}


@dataclass(frozen=True)
class Fields:
    """The fields of one configuration file; every error names the file and the field."""

    place: str
    values: Mapping[str, Any]

    def refuse(self, name: str, expected: str) -> CheckpointError:
        """An error about one field."""
        return CheckpointError(
            f"{self.place}: {name} is {self.values.get(name)!r}, expected {expected}; "
            "such a model is not supported"
        )

    def only(self, fixed: Mapping[str, Any]) -> None:
        """Raise CheckpointError for any other value than the fixed one."""
        for name, value in fixed.items():
            if self.values.get(name) is not None and self.values[name] != value:
                raise self.refuse(name, repr(value))

    def number(self, name: str, default: int) -> int:
        """A whole number above 0."""
        value = self.values.get(name, default)
        if type(value) is not int or value < 1:
            raise self.refuse(name, "a whole number above 0")
        return value

    def real(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self.refuse(name, "a number above 0")
        return float(value)

    def same(self, name: str, default: int) -> int:
        """A number, or a list with the same number for every level."""
        value = self.values.get(name, default)
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if type(value) is not int or value < 1:
            raise self.refuse(name, "one whole number for all levels")
        return value

    def switch(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def widths(self, name: str, default: list[int]) -> tuple[int, tuple[int, ...]]:
        """Channels of the first level, and every level's multiple of them."""
        value = self.values.get(name, default)
        if (
            not isinstance(value, list)
            or not value
            or any(type(v) is not int or v < 1 for v in value)
        ):
            raise self.refuse(name, "a list of whole numbers")
        if any(v % value[0] for v in value):
            raise self.refuse(name, "multiples of the first")
        return value[0], tuple(v // value[0] for v in value)


def read_unet(fields: Fields) -> UNetConfig:
    """Read unet/config.json, where `attention_head_dim` is the number of heads by mistake.

    A list of them is that of SD v2, with heads of one size on all levels.
    """
    fields.only(UNET_FIXED)
    channels, multipliers = fields.widths("block_out_channels", [320, 640, 1280, 1280])
    default = [DOWN[True]] * (len(multipliers) - 1) + [DOWN[False]]
    down = fields.values.get("down_block_types", default)
    if (
        not isinstance(down, list)
        or len(down) != len(multipliers)
        or not set(down) <= {*DOWN.values()}
    ):
        raise fields.refuse(
            "down_block_types", f"{len(multipliers)} of {DOWN[True]} and {DOWN[False]}"
        )
    up = [UP[kind == DOWN[True]] for kind in reversed(down)]
    if fields.values.get("up_block_types", up) != up:
        raise fields.refuse("up_block_types", f"the mirror of down_block_types, {up}")
    heads = (
        "attention_head_dim"
        if fields.values.get("num_attention_heads") is None
        else "num_attention_heads"
    )
    n_heads, d_head = _heads(fields, heads, [channels * m for m in multipliers])
    return UNetConfig(
        in_channels=fields.number("in_channels", 4),
        out_channels=fields.number("out_channels", 4),
        channels=channels,
        channel_multipliers=multipliers,
        attention_levels=tuple(level for level, kind in enumerate(down) if kind == DOWN[True]),
        n_res_blocks=fields.same("layers_per_block", 2),
        n_heads=n_heads,
        d_head=d_head,
        n_transformer_layers=fields.same("transformer_layers_per_block", 1),
        d_cond=fields.number("cross_attention_dim", 1280),
        norm_groups=fields.number("norm_num_groups", 32),
        linear_projections=fields.switch("use_linear_projection", False),
    )


def _heads(fields: Fields, name: str, widths: list[int]) -> tuple[int, int | None]:
    """One number of heads for all levels, or one size of a head: (n_heads, d_head)."""
    value = fields.values.get(name, 8)
    if not isinstance(value, list) or len(set(map(str, value))) == 1:
        return fields.same(name, 8), None
    if len(value) == len(widths) and all(type(n) is int and n > 0 for n in value):
        sizes = {width / n for width, n in zip(widths, value, strict=True)}
        if len(sizes) == 1 and min(sizes).is_integer():
            return UNetConfig.n_heads, int(min(sizes))
    raise fields.refuse(name, "one number of heads, or heads of one size, for all levels")


def read_autoencoder(fields: Fields) -> AutoencoderConfig:
    """Read vae/config.json."""
    fields.only(VAE_FIXED)
    channels, multipliers = fields.widths("block_out_channels", [64])
    n_levels = len(multipliers)
    for name, kind in (
        ("down_block_types", "DownEncoderBlock2D"),
        ("up_block_types", "UpDecoderBlock2D"),
    ):
        if fields.values.get(name, [kind] * n_levels) != [kind] * n_levels:
            raise fields.refuse(name, f"{n_levels} of {kind}")
    image_channels = fields.number("in_channels", 3)
    if fields.number("out_channels", 3) != image_channels:
        raise fields.refuse("out_channels", f"in_channels, {image_channels}")
    return AutoencoderConfig(
        image_channels=image_channels,
        channels=channels,
        channel_multipliers=multipliers,
        n_res_blocks=fields.number("layers_per_block", 1),
        z_channels=fields.number("latent_channels", 4),
        norm_groups=fields.number("norm_num_groups", 32),
        scale_factor=fields.real("scaling_factor", 0.18215),
    )


def read_text_encoder(fields: Fields) -> TextEncoderConfig:
    """Read text_encoder/config.json.

    The start and end tokens are the last two entries of the vocabulary: the folders of SD v1
    say 0 and 2, which is wrong.
    """
    activation = fields.values.get("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu"):
        raise fields.refuse("hidden_act", "'quick_gelu' or 'gelu'")
    vocab_size = fields.number("vocab_size", 49408)
    return TextEncoderConfig(
        vocab_size=vocab_size,
        n_positions=fields.number("max_position_embeddings", 77),
        d_model=fields.number("hidden_size", 512),
        n_layers=fields.number("num_hidden_layers", 12),
        n_heads=fields.number("num_attention_heads", 8),
        d_mlp=fields.number("intermediate_size", 2048),
        activation=activation,
        norm_eps=fields.real("layer_norm_eps", 1e-5),
        bos_id=vocab_size - 2,
        eos_id=vocab_size - 1,
    )


def read_schedule(fields: Fields) -> ScheduleConfig:
    """Read scheduler/scheduler_config.json; the sampler that it names is ignored."""
    fields.only(SCHEDULE_FIXED)
    return ScheduleConfig(
        n_steps=fields.number("num_train_timesteps", 1000),
        beta_start=fields.real("beta_start", ScheduleConfig.beta_start),
        beta_end=fields.real("beta_end", ScheduleConfig.beta_end),
        zero_snr=fields.switch("rescale_betas_zero_snr", False),
    )


def read_prediction(fields: Fields) -> PredictionKind:
    """Read from scheduler/scheduler_config.json what the U-Net predicts."""
    name = fields.values.get("prediction_type", "epsilon")
    if name not in PREDICTIONS:
        raise fields.refuse("prediction_type", " or ".join(map(repr, PREDICTIONS)))
    return PREDICTIONS[name]
