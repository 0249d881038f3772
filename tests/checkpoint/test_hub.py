import shutil
from fnmatch import fnmatch

import huggingface_hub
import pytest

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.hub import fetch_model, is_hub_id
from labml_sd.errors import CheckpointError


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def unreachable(hub_id, **settings):
        raise huggingface_hub.errors.LocalEntryNotFoundError(
            "Outgoing traffic has been disabled.\nMore text."
        )

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("runwayml/stable-diffusion-v1-5", True),
        ("a/b.c_d-e", True),
        ("models/x.safetensors", False),
        ("models/x.ckpt", False),
        ("./a/b", False),
        ("/a/b", False),
        ("a", False),
        ("a/b/c", False),
        ("../b", False),
    ],
)
def test_a_hub_id_is_owner_and_name(source, answer):
    assert is_hub_id(source) == answer


def test_a_model_that_is_not_there_offline_gives_the_command_to_run(offline):
    with pytest.raises(CheckpointError, match="run: hf download owner/name") as caught:
        load_model("owner/name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_only_one_set_of_weights_is_asked_for(
    folder, tmp_path, monkeypatch, variant, model, assert_same
):
    for path in list(folder.glob("*/*model.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", f"{variant}.safetensors")))
    unwanted = [
        "v1-5.ckpt",
        "safety_checker/model.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
    ]
    if not variant:
        unwanted += [
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.bin",
        ]
    for name in unwanted:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()

    def snapshot(hub_id, allow_patterns):
        for path in folder.rglob("*.*"):
            name = str(path.relative_to(folder))
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                (tmp_path / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / "cache" / name)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert_same(load_model("owner/name"), model)
    assert [name for name in unwanted if (tmp_path / "cache" / name).exists()] == []


def test_a_repository_without_a_whole_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda hub_id, allow_patterns: str(tmp_path)
    )
    with pytest.raises(CheckpointError, match="no complete diffusers model"):
        fetch_model("owner/name")
