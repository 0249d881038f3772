import shutil

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from labml_sd.checkpoint.transformers_folder import folder_of_kind, load_network
from labml_sd.errors import CheckpointError

CPU = torch.device("cpu")


def test_a_folder_is_taken_as_it_is(clip_folder):
    assert folder_of_kind(clip_folder, "clip") == clip_folder
    assert folder_of_kind(str(clip_folder), "clip") == clip_folder


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged"), ("[]", "is damaged"), ("{}", "names no model_type")],
)
def test_a_damaged_configuration_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        folder_of_kind(tmp_path, "clip")


def test_what_is_no_folder_of_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        folder_of_kind(tmp_path, "clip")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match="no weights there"):
        folder_of_kind(tmp_path, "clip")
    with pytest.raises(CheckpointError, match="is not a folder"):
        folder_of_kind(tmp_path / "config.json", "clip")
    with pytest.raises(CheckpointError, match="is not a folder"):
        folder_of_kind("missing", "clip")


def test_without_a_network_the_command_that_fetches_the_model_is_named(monkeypatch):
    def unreachable(hub_id, allow_patterns):
        raise ConnectionError("no network\nwith details")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(CheckpointError, match="hf download openai/clip --include") as caught:
        folder_of_kind("openai/clip", "clip")
    assert "\n" not in str(caught.value) and "with details" not in str(caught.value)


def test_only_one_set_of_weights_is_downloaded(clip_folder, tmp_path, monkeypatch):
    asked = []

    def download(hub_id, allow_patterns):
        asked.append(allow_patterns)
        folder = tmp_path / "old"
        shutil.copytree(clip_folder, folder, dirs_exist_ok=True)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        return str(folder if "pytorch_model*.bin" in allow_patterns else tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert folder_of_kind("openai/clip", "clip") == tmp_path / "old"
    assert [patterns[-1] for patterns in asked] == ["model*.safetensors", "pytorch_model*.bin"]
    asked.clear()
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda _, allow_patterns: str(clip_folder)
    )
    assert folder_of_kind("openai/clip", "clip") == clip_folder


@pytest.mark.parametrize("damage", ["cut", "incomplete", "another shape"])
def test_weights_that_do_not_fit_are_refused(clip_folder, tmp_path, damage):
    from transformers import CLIPModel

    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "incomplete":
        del tensors["text_projection.weight"]
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        tensors["text_projection.weight"] = torch.zeros(3, 3)
        save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"cannot be loaded|incomplete") as caught:
        load_network(CLIPModel, folder, CPU, torch.float32)
    assert "\n" not in str(caught.value)


def test_a_network_has_the_numbers_that_were_asked_for_and_no_gradients(clip_folder):
    from transformers import CLIPModel

    network = load_network(CLIPModel, clip_folder, CPU, torch.bfloat16)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert not network.training and not any(p.requires_grad for p in network.parameters())
