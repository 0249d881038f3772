import json

import numpy as np
import pytest
import torch

from labml_sd.adapters import Embedding
from labml_sd.checkpoint.embeddings import save_embedding
from labml_sd.errors import PromptError
from labml_sd.images import save_images
from labml_sd.pipeline import read_parameters, txt2img

QUICK = {"steps": 2, "progress": False, "guidance_scale": 3.0}


@pytest.fixture
def toy(model):
    width = model.config.text_encoder.d_model
    draw = torch.Generator().manual_seed(0)
    return Embedding("<toy>", torch.randn(2, width, generator=draw))


def pixels(images):
    return [np.asarray(image).tolist() for image in images]


def test_a_name_in_a_prompt_draws_with_its_vectors(model, toy):
    with_toy = txt2img(model, "a <toy>", embeddings=[toy], **QUICK)
    assert pixels(with_toy) != pixels(txt2img(model, "a <toy>", **QUICK))
    unused = txt2img(model, "a house", embeddings=[toy], **QUICK)
    assert pixels(unused) == pixels(txt2img(model, "a house", **QUICK))


def test_a_call_writes_nothing_into_the_model(model, toy):
    before = {k: v.clone() for k, v in model.text_encoder.state_dict().items()}
    txt2img(model, "a <toy>", embeddings=[toy], **QUICK)
    assert all(torch.equal(v, before[k]) for k, v in model.text_encoder.state_dict().items())


def test_a_negative_prompt_may_name_one(model, toy):
    plain, other = (
        txt2img(model, "a house", negative_prompt="<toy>", embeddings=e, **QUICK)
        for e in ([], [toy])
    )
    assert pixels(plain) != pixels(other)


def test_vectors_of_a_token_are_that_token(model):
    table = model.text_encoder.transformer.embeddings.token_embedding.weight.detach()
    ids = model.text_encoder.ids("house")[0].tolist()
    same = Embedding("<same>", table[ids[1 : ids.index(ids[-1])]].clone())
    drawn = txt2img(model, "a <same>", embeddings=[same], **QUICK)
    assert pixels(drawn) == pixels(txt2img(model, "a house", **QUICK))


def test_a_picture_records_the_files_and_the_hashes_and_is_drawn_again(model, toy, tmp_path):
    file = tmp_path / "toy.safetensors"
    save_embedding(toy, file)
    prompt = "(a <toy>:1.2) [house:boat:0.5] " + "red sea, " * 90
    images = txt2img(model, prompt, embeddings=[("<toy>", file)], **QUICK)
    (path,) = save_images(images, tmp_path)
    found = read_parameters(path)
    assert found.embeddings == [["<toy>", str(file)]]
    name, digits = found.ti_hashes.split(": ")
    assert name == "<toy>" and len(digits) == 12
    assert f'TI hashes: "<toy>: {digits}"' in found.to_text()
    assert found.prompt == prompt and found.unused == {}
    assert pixels(txt2img(model, found.prompt, progress=False, **found.settings)) == pixels(
        images
    )
    json.loads(found.to_json())


def test_an_embedding_that_no_prompt_names_is_not_in_the_hashes(model, toy, tmp_path):
    save_embedding(toy, tmp_path / "toy.safetensors")
    (image,) = txt2img(model, "a house", embeddings=tmp_path / "toy.safetensors", **QUICK)
    assert read_parameters(image).ti_hashes is None


@pytest.mark.parametrize(
    ("embeddings", "message"), [(3, "3 is no embedding"), ([None], "None is no embedding")]
)
def test_what_is_no_embedding_is_refused(model, embeddings, message):
    with pytest.raises(PromptError, match=message):
        txt2img(model, "a", embeddings=embeddings, **QUICK)


def test_another_width_is_refused(model):
    other = Embedding("x", torch.ones(1, 768))
    with pytest.raises(PromptError, match=r"width 768 \(Stable Diffusion 1\)"):
        txt2img(model, "a", embeddings=[other], **QUICK)
