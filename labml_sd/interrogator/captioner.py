r"""BLIP: a caption of a picture.

Maps       a PIL image  ->  a caption, in lower case
Paper      Li et al. 2022, arXiv:2201.12086
Reference  transformers BlipForConditionalGeneration
Tests      tests/interrogator/test_captioner.py
"""

from os import PathLike
from typing import Any

import torch
from PIL import Image

from labml_sd.checkpoint.transformers_folder import folder_of_kind, load_network, load_words
from labml_sd.interrogator.preprocessing import blip_square, normalised

N_BEAMS, MIN_LENGTH, MAX_NEW_TOKENS = 8, 5, 32


class Captioner:
    """A BLIP network with its tokenizer."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer

    @torch.inference_mode()
    def caption(self, image: Image.Image) -> str:
        """The most likely caption that a beam search finds. It draws no random numbers."""
        size: int = self.network.config.vision_config.image_size
        pixels = normalised(blip_square(image, size)).to(
            self.network.device, self.network.dtype
        )
        (ids,) = self.network.generate(
            pixels,
            num_beams=N_BEAMS,
            min_length=MIN_LENGTH,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
        )
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return " ".join(text.split())


def load_captioner(
    source: str | PathLike[str], device: torch.device, dtype: torch.dtype
) -> Captioner:
    """BLIP from a folder or the hub. Raises CheckpointError."""
    folder = folder_of_kind(source, "blip")
    tokenizer = load_words(folder)
    from transformers import BlipForConditionalGeneration

    return Captioner(
        load_network(BlipForConditionalGeneration, folder, device, dtype), tokenizer
    )
