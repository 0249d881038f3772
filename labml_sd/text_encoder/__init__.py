r"""Prompt -> c, the vectors that condition the U-Net.

tokenizer.py         list[str] -> token ids [b 77]
prompt_grammar.py    prompt -> texts that hold at each step, with weights; extra networks
prompt_schedule.py   `[a:b:0.5]` and `[a|b]` -> a tree, and the text at a step
emphasis.py          `(more)`, `[less]`, `(x:1.3)` -> weights; weights, z -> z
chunks.py            a text of any length -> chunks of 77 tokens, with their weights
clip_transformer.py  token ids -> hidden states [b 77 d]
clip_embedder.py     all together: prompts -> c [b 77 d]
"""

from labml_sd.text_encoder.chunks import Chunk, Token, Vectors, chunks_of
from labml_sd.text_encoder.clip_embedder import CLIPTextEmbedder
from labml_sd.text_encoder.clip_transformer import CLIPTextTransformer, TokenVectors
from labml_sd.text_encoder.prompt_grammar import Prompt, read_prompt
from labml_sd.text_encoder.tokenizer import load_tokenizer, save_tokenizer, tokenize, trimmed

__all__ = [
    "CLIPTextEmbedder",
    "CLIPTextTransformer",
    "Chunk",
    "Prompt",
    "Token",
    "TokenVectors",
    "Vectors",
    "chunks_of",
    "load_tokenizer",
    "read_prompt",
    "save_tokenizer",
    "tokenize",
    "trimmed",
]
