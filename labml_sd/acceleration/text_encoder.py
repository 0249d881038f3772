r"""The text transformer once more: weights laid out once, and one product for queries, keys and values.

A prompt is 77 rows, so few that laying out the weights takes a third of the time of a plain
call.

Maps       ids [b n]  ->  hidden states [b n d_model]
Reference  labml_sd/text_encoder/clip_transformer.py
Tests      tests/acceleration/test_text_encoder.py
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from labml_sd.acceleration.layers import Dense, of_kind
from labml_sd.acceleration.transformer import heads
from labml_sd.text_encoder import CLIPTextEmbedder
from labml_sd.text_encoder.clip_transformer import QUICK, EncoderLayer, quick_gelu

AT_ONCE = 4  # prompts on a CPU, in a narrow type: more rows take a slower way through weights laid out


def quick_gelu_(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""`quick_gelu`, written over x: $x\,\sigma(a x) = \mathrm{silu}(a x) / a$ needs no new memory."""
    return F.silu(x.mul_(QUICK), inplace=True).mul_(1 / QUICK)


class FastEncoderLayer:
    """`EncoderLayer`. Each sum is written over its second part."""

    def __init__(self, layer: EncoderLayer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norms, self.n_heads = (layer.layer_norm1, layer.layer_norm2), attention.n_heads
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        self.project = Dense(
            torch.cat([q.weight, k.weight, v.weight]), torch.cat([q.bias, k.bias, v.bias])
        )
        self.to_out, self.fc1, self.fc2 = (
            Dense(linear.weight, linear.bias)
            for linear in (attention.out_proj, mlp.fc1, mlp.fc2)
        )
        self.activation = quick_gelu_ if mlp.activation is quick_gelu else mlp.activation

    def __call__(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Attention, then MLP."""
        q, k, v = (
            heads(part, self.n_heads)
            for part in self.project(self.norms[0](x)).chunk(3, dim=-1)
        )
        heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = self.to_out(heard.transpose(1, 2).flatten(2)).add_(x)
        return self.fc2(self.activation(self.fc1(self.norms[1](x)))).add_(x)


class FastText:
    """A text transformer made ready; weights that are changed afterwards are not seen."""

    def __init__(self, embedder: CLIPTextEmbedder) -> None:
        transformer = embedder.transformer
        self.embeddings, self.final_layer_norm = (
            transformer.embeddings,
            transformer.final_layer_norm,
        )
        self.layers = [
            FastEncoderLayer(of_kind(EncoderLayer, layer))
            for layer in transformer.encoder.layers
        ]

    def __call__(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The last layer's states, normed."""
        narrow = self.final_layer_norm.weight.element_size() == 2
        at_once = AT_ONCE if narrow and ids.device.type == "cpu" else len(ids)
        return torch.cat([self._some(some) for some in torch.split(ids, at_once)])

    def _some(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        x = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.final_layer_norm(x)
