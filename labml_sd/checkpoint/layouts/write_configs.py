r"""Write a model's configuration as the files of a diffusers folder.

Maps       ModelConfig -> the content of each config.json
Reference  diffusers UNet2DConditionModel, AutoencoderKL, DDIMScheduler; transformers
           CLIPTextConfig
Tests      tests/checkpoint/layouts/test_configs.py
"""

from typing import Any

from labml_sd.checkpoint.layouts.read_configs import DOWN, PREDICTIONS, UNET_FIXED, UP
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError

Json = dict[str, Any]


def write_index(config: ModelConfig) -> Json:
    """Write model_index.json: the class for each folder."""
    task = "Inpaint" if config.for_inpainting else ""
    return {
        "_class_name": f"StableDiffusion{task}Pipeline",
        "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def write_unet(config: ModelConfig) -> Json:
    """Write unet/config.json."""
    unet = config.unet
    _check_first("U-Net", unet.channel_multipliers)
    widths = [unet.channels * m for m in unet.channel_multipliers]
    attention = [level in unet.attention_levels for level in range(unet.n_levels)]
    return {
        **{k: v for k, v in UNET_FIXED.items() if v is not None},
        "attention_head_dim": [unet.heads(width) for width in widths]
        if unet.d_head
        else unet.n_heads,
        "block_out_channels": widths,
        "cross_attention_dim": unet.d_cond,
        "down_block_types": [DOWN[a] for a in attention],
        "in_channels": unet.in_channels,
        "layers_per_block": unet.n_res_blocks,
        "norm_num_groups": unet.norm_groups,
        "out_channels": unet.out_channels,
        "sample_size": config.image_size // config.autoencoder.downsampling_factor,
        "transformer_layers_per_block": unet.n_transformer_layers,
        "up_block_types": [UP[a] for a in reversed(attention)],
        "use_linear_projection": unet.linear_projections,
    }


def write_autoencoder(config: ModelConfig) -> Json:
    """Write vae/config.json."""
    vae = config.autoencoder
    _check_first("autoencoder", vae.channel_multipliers)
    n_levels = len(vae.channel_multipliers)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": [vae.channels * m for m in vae.channel_multipliers],
        "down_block_types": ["DownEncoderBlock2D"] * n_levels,
        "in_channels": vae.image_channels,
        "latent_channels": vae.z_channels,
        "layers_per_block": vae.n_res_blocks,
        "norm_num_groups": vae.norm_groups,
        "out_channels": vae.image_channels,
        "sample_size": config.image_size,
        "scaling_factor": vae.scale_factor,
        "up_block_types": ["UpDecoderBlock2D"] * n_levels,
    }


def write_text_encoder(config: ModelConfig) -> Json:
    """Write text_encoder/config.json."""
    text = config.text_encoder
    return {
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": text.bos_id,
        "eos_token_id": text.eos_id,
        "hidden_act": text.activation,
        "hidden_size": text.d_model,
        "intermediate_size": text.d_mlp,
        "layer_norm_eps": text.norm_eps,
        "max_position_embeddings": text.n_positions,
        "model_type": "clip_text_model",
        "num_attention_heads": text.n_heads,
        "num_hidden_layers": text.n_layers,
        "pad_token_id": text.eos_id if text.pad_id is None else text.pad_id,
        "projection_dim": text.d_model,
        "vocab_size": text.vocab_size,
    }


def write_schedule(config: ModelConfig) -> Json:
    """Write scheduler/scheduler_config.json for the sampler that both packages have.

    SD v1 folders name PNDM. With DDIM a pipeline generates what our DDIM(spacing="uniform")
    does, and every other scheduler can be made from the same numbers.
    """
    return {
        "_class_name": "DDIMScheduler",
        "beta_end": config.schedule.beta_end,
        "beta_schedule": "scaled_linear",
        "beta_start": config.schedule.beta_start,
        "clip_sample": False,
        "num_train_timesteps": config.schedule.n_steps,
        "prediction_type": {kind: name for name, kind in PREDICTIONS.items()}[
            config.prediction
        ],
        "rescale_betas_zero_snr": config.schedule.zero_snr,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "trained_betas": None,
    }


def _check_first(network: str, multipliers: tuple[int, ...]) -> None:
    """The first convolution has level 0's width in diffusers, else the base width."""
    if multipliers[0] != 1:
        raise CheckpointError(
            f"{network}: its first channel multiplier is {multipliers[0]}, "
            "and the diffusers layout allows only 1; save it with layout='compvis'"
        )
