import base64
import json
from pathlib import Path

import pytest
import torch

from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.layouts.embedding import (
    NotAnEmbedding,
    as_entries,
    looks_like_embedding,
    read_words,
    words_in,
    words_of_picture,
)

V2, V1 = torch.randn(2, 768), torch.randn(768)


def weights(tensors, entries=()):
    return Weights(
        path=Path("x"),
        tensors={
            k: TensorInfo(tuple(t.shape), str(t.dtype).removeprefix("torch."))
            for k, t in tensors.items()
        },
        read=tensors.__getitem__,
        entries=frozenset(entries),
    )


@pytest.mark.parametrize(
    ("tensors", "wanted"),
    [
        ({"string_to_param.*": V2}, {"*": V2}),
        ({"string_to_param.*": V2, "string_to_token.*": torch.tensor(265)}, {"*": V2}),
        ({"string_to_param.*": V1}, {"*": V1[None]}),
        ({"string_to_param.<a>": V2, "string_to_param.<b>": V1}, {"<a>": V2, "<b>": V1[None]}),
        ({"emb_params": V2}, {"*": V2}),
        ({"<cat-toy>": V1}, {"<cat-toy>": V1[None]}),
        ({"<cat-toy>": V2}, {"<cat-toy>": V2}),
        ({"<a>": V1, "<b>": V2}, {"<a>": V1[None], "<b>": V2}),
        ({"0.<a>": V1, "1.<b>": V2}, {"*": torch.cat([V1[None], V2])}),
    ],
)
def test_the_words_of_every_program(tensors, wanted):
    given = weights(tensors, ["string_to_param"] if "string_to_param.*" in tensors else [])
    found = read_words(given)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[word], wanted[word]) for word in wanted)
    assert looks_like_embedding(given)


def test_half_precision_is_read_as_float32():
    (found,) = read_words(weights({"<a>": V2.half()})).values()
    assert found.dtype == torch.float32
    assert torch.equal(found, V2.half().float())


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": torch.zeros(2, 3, 4)},
        {"a": torch.tensor(1.0)},
        {"a": torch.zeros(0, 768)},
        {"a": torch.zeros(2, 768, dtype=torch.long)},
        {"a": torch.zeros(1001, 768)},
        {"a": torch.zeros(2, 768), "b": torch.zeros(2, 1024)},
        {"0.a": torch.zeros(768), "1.a": torch.zeros(1024)},
    ],
)
def test_what_is_no_embedding(tensors):
    with pytest.raises(NotAnEmbedding, match="not a textual inversion embedding"):
        words_in(weights(tensors))
    assert not looks_like_embedding(weights(tensors))


def test_an_embedding_of_sdxl_is_named():
    both = weights({"clip_l": V2, "clip_g": torch.zeros(2, 1280)})
    assert looks_like_embedding(both)
    with pytest.raises(NotAnEmbedding, match=r"Stable Diffusion XL \(clip_l and clip_g\)"):
        words_in(both)


def test_a_tensor_of_unknown_width_under_a_plain_name_may_be_anything():
    assert not looks_like_embedding(weights({"a": torch.zeros(3)}))
    assert looks_like_embedding(weights({"<a>": torch.zeros(3)}))


def as_text(content) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def test_the_text_inside_a_picture():
    content = {"name": "toy", "string_to_param": {"*": {"TORCHTENSOR": V2.tolist()}}}
    words, name = words_of_picture(as_text(content))
    assert name == "toy"
    assert torch.equal(words["*"], V2)
    del content["name"]
    assert words_of_picture(as_text(content))[1] == ""


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "%%%",
            base64.b64encode(b"{").decode(),
            base64.b64encode(b"[" * 100_000).decode(),
        ),
        as_text([]),
        as_text({"string_to_param": []}),
        as_text({"string_to_param": {}}),
        as_text({"string_to_param": {"*": {"TORCHTENSOR": "x"}}}),
        as_text({"string_to_param": {"*": {"TORCHTENSOR": [[1], [1, 2]]}}}),
        as_text({"string_to_param": {"*": {"TORCHTENSOR": [[[1.0]]]}}}),
        as_text({"string_to_param": {"*": {"TORCHTENSOR": 5}}}),
        as_text({"string_to_param": {"*": {"TORCHTENSOR": [[10**400]]}}}),
    ],
)
def test_a_damaged_text_is_refused(text):
    with pytest.raises(NotAnEmbedding, match="sd-ti-embedding"):
        words_of_picture(text)


def test_what_is_written():
    assert as_entries("<a>", V2, "diffusers").keys() == {"<a>"}
    assert as_entries("<a>", V2, "kohya").keys() == {"emb_params"}
    a1111 = as_entries("<a>", V2, "a1111")
    assert a1111["name"] == "<a>"
    assert torch.equal(a1111["string_to_param"]["*"], V2)
