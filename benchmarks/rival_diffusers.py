"""diffusers' networks on our random weights, in each of their documented settings.

"diffusers" is the default: contiguous memory, and the attention that the library chooses
(PyTorch's scaled_dot_product_attention). The other settings are those of its page on speed. In
each cell the fastest of them is "the best of diffusers"; which one that is differs by cell.
"""

from typing import Any

import torch
from cells import Setting
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from labml_sd.checkpoint.layouts.diffusers import modern_name, name_map
from labml_sd.checkpoint.layouts.write_configs import (
    write_autoencoder,
    write_text_encoder,
    write_unet,
)
from labml_sd.config import ModelConfig

CLASSES = {"unet": UNet2DConditionModel, "autoencoder": AutoencoderKL}
WRITTEN = {"unet": write_unet, "autoencoder": write_autoencoder}


def twin(part: str, ours: nn.Module, config: ModelConfig) -> Any:
    """diffusers' or transformers' network, sharing the memory of our weights."""
    if part == "text_encoder":
        theirs = CLIPTextModel(CLIPTextConfig.from_dict(write_text_encoder(config)))
    else:
        with torch.device("meta"):
            theirs = CLASSES[part].from_config(WRITTEN[part](config))
    shapes = theirs.state_dict()
    their_names = {modern_name(part, name): name for name in shapes}
    ours_now = ours.state_dict()
    names = name_map(part, ours_now, config)
    weights = {their_names[names[key]]: weight for key, weight in ours_now.items()}
    # A 1x1 convolution of ours may be stored as a matrix; on CUDA ours are channels_last.
    shaped = {
        name: weight.reshape(shapes[name].shape).contiguous()
        for name, weight in weights.items()
    }
    theirs.load_state_dict(shaped, strict=True, assign=True)
    device = next(iter(shaped.values())).device
    return theirs.to(device).eval().requires_grad_(False)


def sharing(theirs: Any) -> Any:
    """Another network of diffusers on the same weights."""
    with torch.device("meta"):
        other = type(theirs).from_config(theirs.config)
    other.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return other.eval().requires_grad_(False)


def channels_last(theirs: Any) -> Any:
    """A copy in the channels_last memory format."""
    return sharing(theirs).to(memory_format=torch.channels_last)


def fused(theirs: Any) -> Any:
    """A copy that computes queries, keys and values with one product."""
    other = sharing(theirs)
    other.fuse_qkv_projections()
    return other


def settings_of(theirs: Any, setting: Setting) -> dict[str, Any]:
    """diffusers' network by setting; with `compiled` only the best of them, compiled."""
    last = channels_last(theirs)
    if setting.compiled:
        compile_theirs(best := fused(last), setting.device)
        return {"diffusers compiled": best}
    return {
        "diffusers": theirs,
        "diffusers channels_last": last,
        "diffusers channels_last fused": fused(last),
    }


def compile_theirs(network: Any, device: torch.device) -> None:
    """As documented: whole networks and CUDA graphs on CUDA, repeated blocks on a CPU."""
    if device.type == "cuda":
        part = network.decoder if isinstance(network, AutoencoderKL) else network
        part.compile(mode="max-autotune", fullgraph=True, dynamic=False)
    elif isinstance(network, UNet2DConditionModel):
        network.compile_repeated_blocks(fullgraph=True)
    else:  # diffusers' autoencoder does not name its repeated blocks
        for block in network.modules():
            if type(block).__name__ == "ResnetBlock2D":
                block.compile(fullgraph=True)
