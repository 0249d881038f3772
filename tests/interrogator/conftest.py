"""A small CLIP and a small BLIP with random weights, saved as folders of transformers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import labml_sd
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene

TOKENIZER = Path(labml_sd.__file__).parent / "models" / "clip_tokenizer"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *"a red cat on the sea".split()]
LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
LAYERS |= {"num_hidden_layers": 2}


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    text = LAYERS | {"projection_dim": 16, "bos_token_id": 49406, "eos_token_id": 49407}
    vision = LAYERS | {"image_size": 32, "patch_size": 8, "projection_dim": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TOKENIZER / name, folder / name)
    return folder


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
