import shutil

import pytest
import torch
from PIL import Image

from labml_sd.errors import CheckpointError
from labml_sd.interrogator.captioner import load_captioner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def captioner(blip_folder):
    return load_captioner(blip_folder, CPU, torch.float32)


def test_a_caption_is_that_of_transformers_with_its_own_processor(
    captioner, blip_folder, picture
):
    from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil

    network = BlipForConditionalGeneration.from_pretrained(blip_folder)
    tokenizer = AutoTokenizer.from_pretrained(blip_folder)
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    pixels = torch.as_tensor(processor(picture, return_tensors="np")["pixel_values"])
    ids = network.generate(pixels, num_beams=8, min_length=5, max_new_tokens=32)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert captioner.caption(picture) == " ".join(expected.split()) != ""


def test_a_caption_is_the_same_again(captioner, picture):
    torch.manual_seed(0)
    first = captioner.caption(picture)
    torch.manual_seed(1)
    assert captioner.caption(picture) == first


def test_captions_depend_on_the_picture(captioner, picture):
    others = [Image.new("RGB", (40, 40), colour) for colour in ("red", "white", "black")]
    seen = {captioner.caption(image) for image in (picture, *others)}
    assert len(seen) > 1


def test_a_folder_without_a_tokenizer_is_refused(blip_folder, tmp_path):
    folder = shutil.copytree(blip_folder, tmp_path / "blip")
    (folder / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer; copy tokenizer\.json"):
        load_captioner(folder, CPU, torch.float32)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="its tokenizer cannot be read"):
        load_captioner(folder, CPU, torch.float32)


def test_another_model_is_refused(clip_folder):
    with pytest.raises(CheckpointError, match="of kind 'clip'; expected 'blip'"):
        load_captioner(clip_folder, CPU, torch.float32)
