r"""CLIP text embedder: prompts to the vectors that condition the U-Net.

Maps       list[str]  ->  cond [b 77 d_model]
Paper      Rombach et al. 2022, arXiv:2112.10752, section 3.3
Reference  CompVis ldm/modules/encoders/modules.py, FrozenCLIPEmbedder
Tests      tests/text_encoder/test_clip_embedder.py
"""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder.clip_transformer import CLIPTextTransformer
from labml_sd.text_encoder.tokenizer import tokenize


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

    def forward(self, prompts: str | list[str], layer: int = -1) -> Float[Tensor, "b n d"]:
        """Embed prompts; `layer` as in `CLIPTextTransformer.forward`.

        Raises PromptError for anything but text; warns if a prompt is cut.
        """
        # ids [b 77], then c [b 77 d]
        return self.transformer(self.ids(prompts), layer)
