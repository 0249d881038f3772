"""A small CLIP with random weights, as a fixture: a folder of transformers."""

import shutil

import pytest
import torch

from labml_sd.checkpoint.tokenizer_files import CLIP_TOKENIZER

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
        shutil.copy(CLIP_TOKENIZER / name, folder / name)
    return folder
