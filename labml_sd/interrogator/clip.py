r"""CLIP of transformers: pictures and texts as vectors of one space.

Maps       a PIL image  ->  a unit vector [d]
           n texts  ->  unit vectors [n d]
Paper      Radford et al. 2021, arXiv:2103.00020
Reference  transformers CLIPModel
Tests      tests/interrogator/test_clip.py
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from labml_sd.checkpoint.transformers_folder import folder_of_kind, load_network
from labml_sd.interrogator.preprocessing import clip_square, normalised
from labml_sd.text_encoder import load_tokenizer

CHUNK = 64  # texts encoded at a time


class Clip:
    """A CLIP network with its tokenizer."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.n_positions: int = network.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def embed_image(self, image: Image.Image) -> Float[Tensor, " d"]:
        """The unit vector of a picture, in float32 on the CPU."""
        size: int = self.network.config.vision_config.image_size
        pixels = normalised(clip_square(image, size)).to(
            self.network.device, self.network.dtype
        )
        features = self.network.vision_model(pixels).pooler_output
        return F.normalize(self.network.visual_projection(features).float(), dim=-1)[0].cpu()

    @torch.inference_mode()
    def embed_texts(
        self, texts: Sequence[str], *, progress: bool = False
    ) -> Float[Tensor, "n d"]:
        """Unit vectors of texts, in float32 on the CPU; a text that is too long is cut."""
        starts = range(0, len(texts), CHUNK)
        parts = [
            self._embed(list(texts[start : start + CHUNK]))
            for start in tqdm(starts, desc="phrases", disable=not progress)
        ]
        return torch.cat(parts)

    def _embed(self, texts: list[str]) -> Float[Tensor, "n d"]:
        ids = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.n_positions,
            return_tensors="pt",
        ).to(self.network.device)
        pooled = self.network.text_model(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]
        ).pooler_output
        return F.normalize(self.network.text_projection(pooled).float(), dim=-1).cpu()

    def fits(self, text: str) -> bool:
        """Whether all of a text is read: at most 77 tokens with the two special ones."""
        return len(self.tokenizer(text, verbose=False)["input_ids"]) <= self.n_positions

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that a text's vector depends on: weights, dtype and tokenizer."""
        network = self.network
        digest = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        for part in (network.text_model, network.text_projection):
            for name, weight in part.named_parameters():
                digest.update(f"{name} {weight.dtype}".encode())
                flat = weight.detach().cpu().contiguous().flatten()
                digest.update(flat.view(torch.uint8).numpy().data)
        return digest.hexdigest()


def load_clip(source: str | PathLike[str], device: torch.device, dtype: torch.dtype) -> Clip:
    """CLIP from a folder or the hub. Raises CheckpointError."""
    folder = folder_of_kind(source, "clip")
    from transformers import CLIPModel

    return Clip(load_network(CLIPModel, folder, device, dtype), load_tokenizer(folder))
