r"""The text transformer of CLIP: token ids to contextual vectors.

Maps       ids [b n]  ->  hidden states [b n d_model]
Paper      Radford et al. 2021, arXiv:2103.00020, section 2.4
           Radford et al. 2019 (GPT-2), section 2.3
           Gal et al. 2022, arXiv:2208.01618, section 3 (vectors in the place of a token's)
Reference  transformers' CLIPTextModel (attribute names of the checkpoint)
Tests      tests/text_encoder/test_clip_transformer.py
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.config import Activation, TextEncoderConfig

QUICK = 1.702


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""An approximation of the GELU, $x\,\sigma(1.702\,x)$ (arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(QUICK * x)


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """Vectors in the place of token embeddings: learned ones, of no token of the vocabulary.

    Vector k stands at `position[k]` of row `row[k]` of the ids, whatever id is there.
    """

    row: Int[Tensor, " k"]
    position: Int[Tensor, " k"]
    vector: Float[Tensor, "k d"]


class Embeddings(nn.Module):
    """Token embedding plus position embedding."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.n_positions, config.d_model)

    def forward(
        self, ids: Int[Tensor, "b n"], vectors: TokenVectors | None = None
    ) -> Float[Tensor, "b n d"]:
        """A vector for each token. Positions count from 0, the start marker."""
        x = self.token_embedding(ids)
        if vectors is not None:
            # [b n d]: k of the vectors are not those of a token
            at = (vectors.row, vectors.position)
            x = x.index_put(at, vectors.vector.to(x))
        # [b n d] + [n d]: the same position vectors for every prompt
        return x + self.position_embedding.weight[: ids.shape[1]]


class CausalSelfAttention(nn.Module):
    """Self-attention in which each token attends to itself and to earlier tokens only."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(d_model, d_model) for _ in range(4)
        )

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix information between tokens; a vector depends only on the tokens up to its own."""
        # three times [b heads n d/heads]
        q, k, v = (
            layer(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        # [b heads n d/heads]: softmax(q k^T / sqrt(d/heads)) v; weights on later tokens are 0
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        # [b n d]: the heads side by side, then the last projection
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, d_model: int, d_mlp: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_mlp)
        self.fc2 = nn.Linear(d_mlp, d_model)
        self.activation = quick_gelu if activation == "quick_gelu" else F.gelu

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The same function for each token."""
        # [b n d_mlp] inside, [b n d] again at the end
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention and MLP, each with a layer norm before it and a skip connection around it."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.self_attn = CausalSelfAttention(config.d_model, config.n_heads)
        self.layer_norm2 = nn.LayerNorm(config.d_model, eps=config.norm_eps)
        self.mlp = MLP(config.d_model, config.d_mlp, config.activation)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Keep the shape."""
        # [b n d]: information from earlier tokens is added
        x = x + self.self_attn(self.layer_norm1(x))
        # [b n d]: each token is processed by itself
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The stack of layers; a separate module because checkpoints have keys `encoder.layers`."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))


class CLIPTextTransformer(nn.Module):
    """Embeddings, layers, final layer norm."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.d_model, eps=config.norm_eps)

    def hidden_states(
        self, ids: Int[Tensor, "b n"], vectors: TokenVectors | None = None
    ) -> list[Float[Tensor, "b n d"]]:
        """The first layer's input and each layer's output, n_layers + 1 states without norm."""
        states = [self.embeddings(ids, vectors)]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return states

    def forward(
        self, ids: Int[Tensor, "b n"], layer: int = -1, vectors: TokenVectors | None = None
    ) -> Float[Tensor, "b n d"]:
        """The normalised output of one layer: -1, the last one, for SD v1; -2 is "clip skip 2".

        `vectors` replace some token embeddings. Raises IndexError for a layer that does not
        exist.
        """
        # [b n d]: the final norm follows whichever layer is chosen
        return self.final_layer_norm(self.hidden_states(ids, vectors)[layer])

    def pooled(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """The vector at the first end marker, the first that depends on the whole prompt."""
        # [b]: the position of the first end marker of each prompt
        at = (ids == self.config.eos_id).int().argmax(dim=-1)
        return self.forward(ids)[torch.arange(len(ids), device=ids.device), at]
