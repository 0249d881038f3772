r"""Names in a diffusers folder, computed from the configuration for any number of blocks.

Both layouts have the same weights. CompVis numbers the U-Net's blocks consecutively; diffusers
counts per level, resnets and attentions separately. In the autoencoder's decoder CompVis counts
levels from the image inwards, diffusers in the order in which they run.

Maps       our name <-> the name in unet/, vae/ or text_encoder/ of the folder
Reference  diffusers UNet2DConditionModel and AutoencoderKL; transformers CLIPTextModel
Tests      tests/checkpoint/layouts/test_diffusers.py
"""

from collections.abc import Iterable, Iterator

from labml_sd.config import AutoencoderConfig, ModelConfig, UNetConfig

UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {
    "nin_shortcut": "conv_shortcut"
}
VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
OLD_VAE_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}  # before diffusers 0.18
TEXT_PREFIX = "text_model."

Pairs = Iterator[tuple[str, str]]


def name_map(part: str, keys: Iterable[str], config: ModelConfig) -> dict[str, str]:
    """{our name: the name in a diffusers folder} for a part. The map is one to one."""
    if part == "text_encoder":
        return {key: TEXT_PREFIX + key for key in keys}
    modules = dict(
        _unet_modules(config.unet) if part == "unet" else _vae_modules(config.autoencoder)
    )
    return {key: _rename(key, modules) for key in keys}


def modern_name(part: str, name: str) -> str:
    """The name that `name_map` uses, for a name of any version of diffusers or transformers."""
    if part == "text_encoder":
        return name if name.startswith(TEXT_PREFIX) else TEXT_PREFIX + name
    if part == "autoencoder" and ".attentions." in name:
        *path, module, kind = name.split(".")
        return ".".join([*path, OLD_VAE_ATTENTION.get(module, module), kind])
    return name


def _rename(key: str, modules: dict[str, str]) -> str:
    """Replace the longest prefix of a name that is a known module."""
    path = key.split(".")
    for n in range(len(path), 0, -1):
        front = ".".join(path[:n])
        if front in modules:
            return ".".join([modules[front], *path[n:]])
    return key


def _inside(ours: str, theirs: str, table: dict[str, str]) -> Pairs:
    for name, other in table.items():
        yield f"{ours}.{name}", f"{theirs}.{other}"


def _unet_modules(config: UNetConfig) -> Pairs:
    yield "time_embed.0", "time_embedding.linear_1"
    yield "time_embed.2", "time_embedding.linear_2"
    yield "input_blocks.0.0", "conv_in"
    yield from _unet_down(config)
    yield from _inside("middle_block.0", "mid_block.resnets.0", UNET_RESNET)
    yield "middle_block.1", "mid_block.attentions.0"
    yield from _inside("middle_block.2", "mid_block.resnets.1", UNET_RESNET)
    yield from _unet_up(config)
    yield "out.0", "conv_norm_out"
    yield "out.2", "conv_out"


def _unet_down(config: UNetConfig) -> Pairs:
    i = 1  # input_blocks.0 is the first convolution
    for level in range(config.n_levels):
        for block in range(config.n_res_blocks):
            yield from _inside(
                f"input_blocks.{i}.0", f"down_blocks.{level}.resnets.{block}", UNET_RESNET
            )
            yield f"input_blocks.{i}.1", f"down_blocks.{level}.attentions.{block}"
            i += 1
        if level < config.n_levels - 1:
            yield f"input_blocks.{i}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
            i += 1


def _unet_up(config: UNetConfig) -> Pairs:
    """The last block of a level ends with the up-sampling."""
    i = 0
    for up, level in enumerate(reversed(range(config.n_levels))):
        attention = level in config.attention_levels
        for block in range(config.n_res_blocks + 1):
            yield from _inside(
                f"output_blocks.{i}.0", f"up_blocks.{up}.resnets.{block}", UNET_RESNET
            )
            if attention:
                yield f"output_blocks.{i}.1", f"up_blocks.{up}.attentions.{block}"
            i += 1
        if level > 0:
            yield (
                f"output_blocks.{i - 1}.{2 if attention else 1}.conv",
                f"up_blocks.{up}.upsamplers.0.conv",
            )


def _vae_modules(config: AutoencoderConfig) -> Pairs:
    n_levels = len(config.channel_multipliers)
    for level in range(n_levels):
        down, downs = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        up, ups = f"decoder.up.{level}", f"decoder.up_blocks.{n_levels - 1 - level}"
        for block in range(config.n_res_blocks):
            yield from _inside(f"{down}.block.{block}", f"{downs}.resnets.{block}", VAE_RESNET)
        for block in range(config.n_res_blocks + 1):
            yield from _inside(f"{up}.block.{block}", f"{ups}.resnets.{block}", VAE_RESNET)
        yield f"{down}.downsample.conv", f"{downs}.downsamplers.0.conv"
        yield f"{up}.upsample.conv", f"{ups}.upsamplers.0.conv"
    for side in ("encoder", "decoder"):
        ours, theirs = f"{side}.mid", f"{side}.mid_block"
        yield from _inside(f"{ours}.block_1", f"{theirs}.resnets.0", VAE_RESNET)
        yield from _inside(f"{ours}.attn_1", f"{theirs}.attentions.0", VAE_ATTENTION)
        yield from _inside(f"{ours}.block_2", f"{theirs}.resnets.1", VAE_RESNET)
        yield f"{side}.norm_out", f"{side}.conv_norm_out"
