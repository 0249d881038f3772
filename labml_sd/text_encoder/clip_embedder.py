r"""CLIP text embedder: prompts to the vectors that condition the U-Net.

Maps       list[str]  ->  cond [b 77 d_model]
           chunks of each prompt  ->  cond [77k d_model] of each, for k chunks
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3
Reference  CompVis ldm/modules/encoders/modules.py, FrozenCLIPEmbedder
Tests      tests/text_encoder/test_clip_embedder.py
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder.chunks import Chunk
from labml_sd.text_encoder.clip_transformer import CLIPTextTransformer, TokenVectors
from labml_sd.text_encoder.emphasis import apply_weights
from labml_sd.text_encoder.tokenizer import tokenize

AT_ONCE = 128  # chunks


class CLIPTextEmbedder(nn.Module):
    """Tokenizer and text transformer.

    SD uses CLIP as published and did not train it further; only the U-Net was trained on its
    output. All 77 vectors are used, including those of the padding.
    """

    def __init__(self, config: TextEncoderConfig, tokenizer: Any) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.transformer = CLIPTextTransformer(config)

    def ids(self, prompts: str | list[str]) -> Int[Tensor, "b n"]:
        """Token ids, on the transformer's device. Raises PromptError for anything but text."""
        config = self.config
        ids = tokenize(
            self.tokenizer,
            prompts,
            n_positions=config.n_positions,
            bos_id=config.bos_id,
            eos_id=config.eos_id,
            pad_id=config.pad_id,
        )
        return ids.to(self.transformer.final_layer_norm.weight.device)

    def encode_chunks(
        self, prompts: Sequence[Sequence[Chunk]], layer: int = -1, emphasis: str = "a1111"
    ) -> list[Float[Tensor, "n d"]]:
        """The embedding of each prompt: that of its chunks, one after the other.

        Chunks are encoded apart, so a word is not affected by words of an earlier chunk. Then
        the weights of the tokens are applied to each; see `apply_weights`.
        """
        chunks = [chunk for prompt in prompts for chunk in prompt]
        encoded: list[Tensor] = []
        for i in range(0, len(chunks), AT_ONCE):
            encoded += self._encoded(chunks[i : i + AT_ONCE], layer)  # [77 d] each
        empty = None
        if emphasis == "comfy" and any(set(chunk.weights) != {1.0} for chunk in chunks):
            empty = self.forward("", layer)[0]
        parts = (
            apply_weights(z, chunk.weights, emphasis, empty)
            for z, chunk in zip(encoded, chunks, strict=True)
        )
        return [torch.cat([*islice(parts, len(prompt))]) for prompt in prompts]

    def _encoded(self, chunks: Sequence[Chunk], layer: int) -> Float[Tensor, "b n d"]:
        device = self.transformer.final_layer_norm.weight.device
        ids = torch.tensor([chunk.ids for chunk in chunks], device=device)
        placed = [
            (row, position, token.vector)
            for row, chunk in enumerate(chunks)
            for position, token in enumerate(chunk.tokens)
            if token.vector is not None
        ]
        if not placed:
            return self.transformer(ids, layer)
        rows, positions, vectors = zip(*placed, strict=True)
        row, position = (torch.tensor(at, device=device) for at in (rows, positions))
        vector = torch.stack(vectors).to(device)
        return self.transformer(ids, layer, TokenVectors(row, position, vector))

    def forward(self, prompts: str | list[str], layer: int = -1) -> Float[Tensor, "b n d"]:
        """Embed prompts; `layer` as in `CLIPTextTransformer.forward`.

        Raises PromptError for anything but text; warns if a prompt is cut.
        """
        # ids [b 77], then c [b 77 d]
        return self.transformer(self.ids(prompts), layer)
