r"""The text half of CLIP: token ids become vectors that know their neighbours.

Maps       ids [b n]  ->  hidden states [b n d_model]
Paper      Radford et al. 2021, arXiv:2103.00020, section 2.4; Radford et al. 2019 (GPT-2), section 2.3
Reference  transformers' CLIPTextModel (attribute names kept for the checkpoint)
Tests      tests/text_encoder/test_clip_transformer.py
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.config import Activation, TextEncoderConfig

QUICK = 1.702


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""OpenAI's approximation of the GELU, $x\,\sigma(1.702\,x)$ (Hendrycks and Gimpel 2016, section 2)."""
    return x * torch.sigmoid(QUICK * x)


class Embeddings(nn.Module):
    """A vector for what a token is, plus a vector for where it stands."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.n_positions, config.d_model)

    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Positions count from 0 at the start mark."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class CausalSelfAttention(nn.Module):
    """Each token listens to itself and to those before it, as in the language models CLIP was built after."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(d_model, d_model) for _ in range(4)
        )

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The mask hides what comes later, so a word's vector depends only on what was said so far."""
        q, k, v = (
            layer(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # [b heads n d_head]
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(heard.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Widen, bend, narrow."""

    def __init__(self, d_model: int, d_mlp: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_mlp)
        self.fc2 = nn.Linear(d_mlp, d_model)
        self.activation = quick_gelu if activation == "quick_gelu" else F.gelu

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Each token for itself."""
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention, then MLP; the norms stand before, so the sum runs through from first layer to last."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.self_attn = CausalSelfAttention(config.d_model, config.n_heads)
        self.layer_norm2 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = MLP(config.d_model, config.d_mlp, config.activation)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Keep the shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The stack of layers. A module of its own only because the checkpoint says `encoder.layers`."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))


class CLIPTextTransformer(nn.Module):
    """Embeddings, layers, a last norm."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.d_model, eps=config.norm_eps)

    def hidden_states(self, ids: Int[Tensor, "b n"]) -> list[Float[Tensor, "b n d"]]:
        """What goes into the first layer, then what comes out of each: n_layers + 1 states, not normed."""
        states = [self.embeddings(ids)]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return states

    def forward(self, ids: Int[Tensor, "b n"], layer: int = -1) -> Float[Tensor, "b n d"]:
        """The normed output of one layer: -1, the last, is what SD v1 listens to; -2 is "clip skip 2".

        Raises IndexError for a layer that is not there.
        """
        return self.final_layer_norm(self.hidden_states(ids)[layer])

    def pooled(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """The vector at the first end mark: under the causal mask, the first to hear the whole prompt."""
        at = (ids == self.config.eos_id).int().argmax(dim=-1)
        return self.forward(ids)[torch.arange(len(ids), device=ids.device), at]
