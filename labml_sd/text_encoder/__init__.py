r"""Prompt -> c, the vectors that condition the U-Net.

tokenizer.py         list[str] -> token ids [b 77]
clip_transformer.py  token ids -> hidden states [b 77 d]
clip_embedder.py     the two together: list[str] -> c [b 77 d]
"""

from labml_sd.text_encoder.clip_embedder import CLIPTextEmbedder
from labml_sd.text_encoder.clip_transformer import CLIPTextTransformer, TokenVectors
from labml_sd.text_encoder.tokenizer import load_tokenizer, save_tokenizer, tokenize

__all__ = [
    "CLIPTextEmbedder",
    "CLIPTextTransformer",
    "TokenVectors",
    "load_tokenizer",
    "save_tokenizer",
    "tokenize",
]
