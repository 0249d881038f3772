import argparse

import pytest
import torch

from labml_sd.checkpoint import save_model
from labml_sd.checkpoint.embeddings import load_embedding
from labml_sd.cli import train_embedding as command
from labml_sd.cli.main import main
from labml_sd.errors import CheckpointError, GenerationError, PromptError


@pytest.fixture
def words(model, tmp_path, photo):
    """The command line for a small model and three pictures."""
    data = tmp_path / "pictures"
    data.mkdir()
    for i in range(3):
        photo(40, 40 + i).save(data / f"{i}.png")
    save_model(model, tmp_path / "model")
    return [
        *("embedding", "--data", str(data), "--token", "<toy>", "--init", "r"),
        *("--model", str(tmp_path / "model"), "--outdir", str(tmp_path / "run")),
        *("--steps", "2", "--batch-size", "2", "--device", "cpu"),
    ]


def parse(words) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_one_command_learns_a_word_that_loads(words, tmp_path, capsys):
    assert main(["train", *words, "--vectors", "2"]) == 0
    (found,) = load_embedding(tmp_path / "run" / "toy.safetensors")
    assert found.names == ("<toy>", "embedding:toy")
    assert found.vectors.shape == (2, 16)
    assert "toy.safetensors; write <toy> in a prompt" in capsys.readouterr().out


def test_the_same_command_saves_it_again_in_another_form(words, tmp_path):
    command.run(parse(words))
    command.run(parse([*words, "--save", str(tmp_path / "other" / "cat.pt")]))
    (first,) = load_embedding(tmp_path / "run" / "toy.safetensors")
    (second,) = load_embedding(tmp_path / "other" / "cat.pt")
    assert second.name == "cat"
    assert torch.equal(first.vectors, second.vectors)


def test_templates_come_from_a_file(words, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("a {} at it\n\n  {}\n")
    assert command.read_templates(file) == ("a {} at it", "{}")
    command.run(parse([*words, "--templates", str(file)]))
    file.write_text("\n")
    with pytest.raises(PromptError, match="has 0 captions"):
        command.read_templates(file)
    with pytest.raises(PromptError, match="cannot be read as text"):
        command.read_templates(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (("--minutes", "0"), GenerationError, "--minutes is 0"),
        (("--steps", "0"), GenerationError, "--steps is 0"),
        (("--save", "x.ckpt"), CheckpointError, "ends in .safetensors"),
        (("--device", "nonsense"), GenerationError, "is unknown"),
        (("--init", "r h"), PromptError, "not one"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_written(
    words, tmp_path, more, error, message
):
    with pytest.raises(error, match=message):
        command.run(parse([*words, *more]))
    assert not (tmp_path / "run").exists()


def test_the_state_of_the_run_is_not_overwritten(words, tmp_path):
    with pytest.raises(CheckpointError, match="own embedding"):
        command.run(parse([*words, "--save", str(tmp_path / "run" / "embedding.pt")]))


@pytest.mark.parametrize(
    ("token", "stem"),
    [("<toy>", "toy"), ("*", "embedding"), ("a/../b", "ab"), ("<x-1>", "x-1")],
)
def test_the_word_as_the_name_of_a_file(token, stem):
    assert command.file_stem(token) == stem


def test_the_other_stages_are_as_they_were(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "autoencoder,decoder,clip,diffusion" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train", "embedding", "--help"])
    assert "train embedding [-h] --data FOLDER --token WORD" in " ".join(
        capsys.readouterr().out.split()
    )
