"""Language models from folders and the hub: what is read, and what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from labml_sd.errors import CheckpointError
from labml_sd.prompt_tools import generate_prompts, load_language_model

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(gpt2, tmp_path):
    """A copy of the folder, to be damaged."""
    return Path(shutil.copytree(gpt2, tmp_path / "copy"))


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def to_bin(folder):
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")


def test_the_logits_are_those_of_transformers(gpt2):
    from transformers import AutoModelForCausalLM

    model = load_language_model(gpt2)
    ids = model.ids("a red house in the snow")
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(gpt2)(torch.tensor([ids])).logits[0, -1]
    whole, _ = model.next(ids)
    first, state = model.next(ids[:-2])
    step, _ = model.next(ids[-2:], state)
    assert first.shape == whole.shape
    torch.testing.assert_close(whole, expected)
    torch.testing.assert_close(step, expected)


def test_bin_files_are_read_and_safetensors_are_preferred(gpt2, copy):
    expected = generate_prompts("a red house", model=gpt2, n=2)
    (copy / "pytorch_model.bin").write_bytes(b"damaged")
    assert generate_prompts("a red house", model=copy, n=2) == expected
    to_bin(copy)
    (copy / WEIGHTS).unlink()
    assert generate_prompts("a red house", model=copy, n=2) == expected


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_a_bin_file_runs_no_code(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (copy / WEIGHTS).unlink()
    for written in (pickle.dumps(Harmful()), None):
        if written is None:
            torch.save({"a": Harmful()}, copy / "pytorch_model.bin")
        else:
            (copy / "pytorch_model.bin").write_bytes(written)
        with pytest.raises(CheckpointError, match="copy: cannot be loaded"):
            load_language_model(copy)
    assert not (tmp_path / "harmed").exists()


def test_code_in_a_folder_is_not_run(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import pathlib; pathlib.Path('harmed').touch()\nclass Model: pass\n"
    (copy / "modeling.py").write_text(code)
    change(
        copy, auto_map={"AutoConfig": "modeling.Model", "AutoModelForCausalLM": "modeling.M"}
    )
    assert load_language_model(copy).network is not None  # by transformers' own class
    change(copy, model_type="own")
    with pytest.raises(CheckpointError, match="of type 'own' is no causal language model"):
        load_language_model(copy)
    assert not (tmp_path / "harmed").exists()


def test_what_is_no_causal_language_model(copy, gpt2, tmp_path):
    change(copy, model_type="clip")
    with pytest.raises(CheckpointError, match="a model of type 'clip' is no causal"):
        load_language_model(copy)
    change(copy, model_type="bert", architectures=["BertForMaskedLM"])
    with pytest.raises(
        CheckpointError, match="'BertForMaskedLM', which does not continue texts"
    ):
        load_language_model(copy)
    for content in ("[1]", "{", '{"model_type": null}'):
        (copy / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json: is damaged"):
            load_language_model(copy)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_language_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"is not a folder; give .* of a causal"):
        load_language_model(gpt2 / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"is not a folder; give .* of a causal"):
        load_language_model("not/a/hub/id")


def test_missing_parts(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / WEIGHTS)
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights are missing, .*mlp\.c_fc\.weight"):
        load_language_model(copy)
    (copy / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_language_model(copy)
    (copy / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="no weights there"):
        load_language_model(copy)


def test_a_folder_without_a_tokenizer(copy):
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_language_model(copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="its tokenizer cannot be read"):
        load_language_model(copy)


def test_a_tokenizer_of_another_model(copy):
    path = copy / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["Ġmore"] = 400
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="more tokens than the model"):
        generate_prompts("a more", model=copy)


def test_damaged_weights_give_nan(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / WEIGHTS)
    tensors["transformer.ln_f.weight"][0] = float("nan")
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="gives NaN"):
        generate_prompts("a", model=copy)


def test_a_model_of_the_hub_is_fetched_without_its_code(gpt2, monkeypatch):
    asked = []

    def download(hub_id, **options):
        asked.append((hub_id, options))
        return str(gpt2)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_language_model("openai-community/gpt2").name == ("openai-community/gpt2")
    ((hub_id, options),) = asked
    assert (
        hub_id == "openai-community/gpt2" and "model*.safetensors" in options["allow_patterns"]
    )
    assert not any(
        pattern.endswith(("py", "bin", "*")) for pattern in options["allow_patterns"]
    )


def test_bin_files_of_the_hub_are_fetched_where_there_is_nothing_else(copy, monkeypatch):
    to_bin(copy)
    (copy / WEIGHTS).unlink()
    asked = []

    def download(hub_id, **options):
        asked.append(options["allow_patterns"][-1])
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    load_language_model("gpt2-of-the-hub")
    assert asked == ["model*.safetensors", "pytorch_model*.bin"]


def test_a_model_that_is_neither_on_the_hub_nor_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="hf download openai-community/gpt2") as raised:
        load_language_model("openai-community/gpt2")
    assert "\n" not in str(raised.value)


def test_the_verbosity_of_transformers_is_restored(gpt2):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_language_model(gpt2)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
