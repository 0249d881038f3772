"""A small BLIP beside the small CLIP, a folder of transformers too."""

import json

import pytest
import torch
from PIL import Image
from small_clip import LAYERS, clip_folder

from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *"a red cat on the sea".split()]
__all__ = ["clip_folder"]


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory):
    from transformers import BlipConfig, BlipForConditionalGeneration

    folder = tmp_path_factory.mktemp("blip")
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = LAYERS | ids | {"vocab_size": len(WORDS), "encoder_hidden_size": 16}
    vision = LAYERS | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(1)
    config = BlipConfig(text_config=text, vision_config=vision)
    config.text_config.initializer_range = 0.5  # so that captions depend on the picture
    config.vision_config.initializer_range = 0.5
    BlipForConditionalGeneration(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A drawn scene, wider than high."""
    return draw_scene(Scene.sample(3, 0), 128).crop((0, 10, 128, 100))
