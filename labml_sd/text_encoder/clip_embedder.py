r"""CLIP text embedder: prompts become what the U-Net listens to.

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
    """Tokenizer and text transformer together.

    SD did not train this part: CLIP is taken as it came, and only the U-Net learnt to listen to
    it. All 77 vectors go on, those of the padding too.
    """

    def __init__(self, config: TextEncoderConfig, tokenizer: Any) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.transformer = CLIPTextTransformer(config)

    def ids(self, prompts: str | list[str]) -> Int[Tensor, "b n"]:
        """Token ids, on the transformer's device. Raises PromptError for what is not text."""
        config = self.config
        ids = tokenize(
            self.tokenizer,
            prompts,
            n_positions=config.n_positions,
            bos_id=config.bos_id,
            eos_id=config.eos_id,
        )
        return ids.to(self.transformer.final_layer_norm.weight.device)

    def forward(self, prompts: str | list[str], layer: int = -1) -> Float[Tensor, "b n d"]:
        """Embed prompts. Raises PromptError for what is not text; warns when a prompt is cut."""
        return self.transformer(self.ids(prompts), layer)
