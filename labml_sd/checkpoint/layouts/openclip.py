r"""Names of OpenCLIP's text encoder, as single files of SD v2 have them.

Queries, keys and values of a layer are one matrix there, `in_proj`, and three here.

Maps       a name in the file <-> our name, and which third of the tensor it is
Reference  open_clip CLIP and ResidualAttentionBlock; torch.nn.MultiheadAttention (`in_proj`)
Tests      tests/checkpoint/layouts/test_openclip.py
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
IN_A_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
THIRDS = ("q_proj", "k_proj", "v_proj")
LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
PACKED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
OUR_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def our_names(name: str) -> list[str]:
    """Our name of a tensor, or the three of which it is made; empty if we have no such weight.

    That holds for `text_projection`, `logit_scale` and `attn_mask`, which only CLIP's training
    uses.
    """
    if name in OUTSIDE:
        return [OUTSIDE[name]]
    if packed := PACKED.fullmatch(name):
        layer, kind = packed.groups()
        return [f"encoder.layers.{layer}.self_attn.{third}.{kind}" for third in THIRDS]
    if (inside := LAYER.fullmatch(name)) and inside[2] in IN_A_LAYER:
        return [f"encoder.layers.{inside[1]}.{IN_A_LAYER[inside[2]]}.{inside[3]}"]
    return []


def layer_of(name: str) -> int | None:
    """The number of the layer that a weight of ours is in, or None."""
    found = OUR_LAYER.fullmatch(name)
    return int(found[1]) if found else None


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under OpenCLIP's names, queries, keys and values of a layer in one tensor."""
    outside = {ours: theirs for theirs, ours in OUTSIDE.items()}
    inside = {ours: theirs for theirs, ours in IN_A_LAYER.items()}
    result: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if key in outside:
            result[outside[key]] = tensor
            continue
        found = OUR_LAYER.fullmatch(key)
        assert found, key
        layer, module, kind = found.groups()
        front = f"transformer.resblocks.{layer}"
        if module in inside:
            result[f"{front}.{inside[module]}.{kind}"] = tensor
        elif module == "self_attn.q_proj":
            names = (key.replace("q_proj", third) for third in THIRDS)
            result[f"{front}.attn.in_proj_{kind}"] = torch.cat([weights[n] for n in names])
    return result
