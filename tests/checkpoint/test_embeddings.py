import base64
import hashlib
import json
import os
import stat

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file

from labml_sd.adapters import Embedding
from labml_sd.checkpoint.embeddings import load_embedding, load_embeddings, save_embedding
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.inspect import inspect_file
from labml_sd.checkpoint.kind import recognise
from labml_sd.cli.main import main
from labml_sd.errors import CheckpointError, LabmlSdError, PromptError

V = torch.randn(2, 768, generator=torch.Generator().manual_seed(0))


def torch_file(path, content, **options):
    torch.save(content, path, **options)
    return path


def a1111(vectors=V, **more):
    entries = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors},
        "name": "inner",
    }
    return entries | {"step": 100, "sd_checkpoint": "abc", "sd_checkpoint_name": "x"} | more


def rinongal(*words):
    """As the paper's program writes: a ParameterDict, and tokens as tensors."""
    parameters = {word: torch.nn.Parameter(V + i) for i, word in enumerate(words)}
    return {
        "string_to_token": {word: torch.tensor(265) for word in words},
        "string_to_param": torch.nn.ParameterDict(parameters),
    }


def picture(path, content=None):
    info = PngImagePlugin.PngInfo()
    if content is not None:
        text = base64.b64encode(json.dumps(content).encode()).decode()
        info.add_text("sd-ti-embedding", text)
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    return path


FILES = {
    "a1111.pt": lambda path: torch_file(path, a1111()),
    "parameter.pt": lambda path: torch_file(path, a1111(torch.nn.Parameter(V))),
    "stream.pt": lambda path: torch_file(path, a1111(), _use_new_zipfile_serialization=False),
    "paper.pt": lambda path: torch_file(path, rinongal("*")),
    "kohya.safetensors": lambda path: save_file({"emb_params": V}, path) or path,
    "list.pt": lambda path: torch_file(path, [{"<a>": V[0]}, {"<a>": V[1:]}]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_names_no_word_is_called_as_the_file(tmp_path, name):
    path = FILES[name](tmp_path / name)
    (found,) = load_embedding(path)
    assert found.name == found.stem == path.stem
    assert torch.equal(found.vectors, V)
    assert found.hash == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert recognise(open_weights(path)).name == "embedding"


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("vectors", [V, V[0], V.half()])
def test_a_file_of_a_library_of_concepts_names_its_word(tmp_path, suffix, vectors):
    path = tmp_path / f"learned_embeds{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({"<cat-toy>": vectors}, path)
    (found,) = load_embedding(path)
    assert found.names == ("<cat-toy>", "embedding:learned_embeds")
    assert torch.equal(found.vectors, vectors.float().reshape(-1, 768))
    (renamed,) = load_embedding(path, "toy")
    assert renamed.names == ("toy", "embedding:learned_embeds")


def test_several_words_in_one_file(tmp_path):
    path = torch_file(tmp_path / "two.pt", rinongal("<a>", "<b>"))
    found = load_embedding(path)
    assert [(e.name, e.names) for e in found] == [("<a>", ("<a>",)), ("<b>", ("<b>",))]
    assert torch.equal(found[1].vectors, V + 1)
    with pytest.raises(CheckpointError, match="has 2 embeddings"):
        load_embedding(path, "one")
    assert "'<a>': 2 vectors of width 768 (Stable Diffusion 1)" in inspect_file(path)


def test_a_picture_with_an_embedding_inside(tmp_path, capsys):
    content = {"name": "inner", "string_to_param": {"*": {"TORCHTENSOR": V.tolist()}}}
    (found,) = load_embedding(picture(tmp_path / "toy.png", content))
    assert found.names == ("inner", "embedding:toy")
    assert torch.equal(found.vectors, V)
    assert main(["inspect", str(tmp_path / "toy.png")]) == 0
    assert "'inner': 2 vectors of width 768 (Stable Diffusion 1)" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="a picture without the text sd-ti-embedding"):
        load_embedding(picture(tmp_path / "plain.png"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clip_l": V, "clip_g": torch.zeros(2, 1280)}, "Stable Diffusion XL"),
        ({"a": torch.zeros(2, 3, 4)}, "not a textual inversion embedding"),
        ({"<a>": torch.full((2, 768), float("nan"))}, "holds NaN"),
        ({"<a>": torch.full((2, 768), float("inf"))}, "holds NaN, Inf"),
        ({"<" + "a" * 300 + ">": V}, "cannot be the name"),
    ],
)
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_what_cannot_be_used_is_one_line(tmp_path, content, message, suffix):
    path = tmp_path / f"x{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(content, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_embedding(path)
    assert str(path) in str(caught.value)


def test_a_pickle_that_calls_something_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = torch_file(tmp_path / "x.pt", a1111(name=Hostile()))
    with pytest.raises(CheckpointError, match="refused"):
        load_embedding(path)
    assert not (tmp_path / "made").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_embedding(tmp_path / "x.pt")


def test_inspect_names_word_count_and_width(tmp_path):
    text = inspect_file(FILES["paper.pt"](tmp_path / "paper.pt"))
    assert "'paper': 2 vectors of width 768 (Stable Diffusion 1)" in text
    assert "textual-inversion embedding" in text
    assert "not built" not in text
    save_file({"clip_l": V, "clip_g": torch.zeros(2, 1280)}, tmp_path / "xl.safetensors")
    assert "Stable Diffusion XL" in inspect_file(tmp_path / "xl.safetensors")


def test_sources_of_every_type(tmp_path):
    save_embedding(Embedding("<file>", V), tmp_path / "file.safetensors")
    folder = tmp_path / "folder"
    save_embedding(Embedding("<inside>", V), folder / "inside.safetensors")
    save_embedding(Embedding("wide", torch.zeros(1, 1024)), folder / "wide.pt")
    sources = [
        str(tmp_path / "file.safetensors"),
        ("<named>", tmp_path / "file.safetensors"),
        Embedding("<made>", V),
        folder,
    ]
    with pytest.raises(PromptError, match="two embeddings are called 'embedding:file'"):
        load_embeddings(sources, 768)
    found = load_embeddings(sources[1:], 768)
    assert set(found) == {
        *("<named>", "embedding:file", "<made>", "<inside>", "embedding:inside"),
    }


def test_files_of_a_folder_that_are_no_embeddings_are_left_out_with_a_warning(tmp_path):
    torch.save({"step": 1, "networks": {"a": torch.zeros(2, 3, 4)}}, tmp_path / "run.pt")
    save_embedding(Embedding("<a>", V), tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match=r"left out: .*run\.pt"):
        found = load_embeddings([tmp_path], 768)
    assert set(found) == {"<a>", "embedding:a"}


@pytest.mark.parametrize("sources", [5, [5], [("a",)], [("a", 5)], [None]])
def test_other_sources_are_refused(sources):
    with pytest.raises(PromptError, match="give a file, a folder"):
        load_embeddings(sources, 768)


def test_another_width_is_refused_by_name(tmp_path):
    path = tmp_path / "x.pt"
    save_embedding(Embedding("x", torch.zeros(1, 1024)), path)
    with pytest.raises(PromptError, match=r"width 1024 .*Stable Diffusion 1 has 768"):
        load_embeddings([path], 768, "Stable Diffusion 1")


@pytest.mark.parametrize(
    ("name", "layout", "word"),
    [
        ("x.safetensors", None, "<a>"),
        ("x.safetensors", "kohya", "x"),
        ("x.bin", None, "<a>"),
        ("x.pt", None, "x"),
        ("x.pt", "diffusers", "<a>"),
    ],
)
def test_what_is_saved_is_read_back_bit_for_bit(tmp_path, name, layout, word):
    path = tmp_path / "new" / name
    save_embedding(Embedding("<a>", V), path, layout)
    (found,) = load_embedding(path)
    assert found.name == word
    assert torch.equal(found.vectors, V)
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_the_forms_are_those_of_other_programs(tmp_path):
    save_embedding(Embedding("<a>", V), tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == {"<a>"}
    save_embedding(Embedding("<a>", V), tmp_path / "x.pt")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(content["string_to_param"]["*"], V)
    assert content["name"] == "<a>"


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("x.ckpt", None, "ends in"),
        ("x", None, "ends in"),
        ("x.pt", "other", "unknown"),
        ("x.safetensors", "a1111", r"is a \.pt file"),
    ],
)
def test_a_wrong_place_or_layout_is_refused(tmp_path, name, layout, message):
    with pytest.raises(CheckpointError, match=message):
        save_embedding(Embedding("<a>", V), tmp_path / name, layout)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("x.pt", "x.safetensors"):
        with pytest.raises(LabmlSdError, match="cannot be written"):
            save_embedding(Embedding("<a>", V), tmp_path / "file" / name)
