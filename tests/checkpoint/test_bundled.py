import pytest

from labml_sd.checkpoint import inspect_file, load_model, save_model
from labml_sd.checkpoint.bundled import BUNDLED, MODELS, TINY, place_of
from labml_sd.errors import CheckpointError

MOST = 40_000_000  # bytes of all weights in the package


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_model_loads_by_its_name(name):
    model = load_model(name, device="cpu")
    assert model.config.name == name
    assert (MODELS / name / "MODEL_CARD.md").is_file()
    assert str(MODELS / name) in inspect_file(name)


def test_a_bundled_model_shares_the_parts_in_which_it_does_not_differ():
    assert place_of(MODELS / "tiny-inpainting", "vae") == MODELS / TINY / "vae"
    assert place_of(MODELS / "tiny-inpainting", "unet") == MODELS / "tiny-inpainting" / "unet"
    plain, painting = (load_model(name, device="cpu") for name in BUNDLED)
    for part in ("autoencoder", "text_encoder"):
        theirs = plain.get_submodule(part).state_dict()
        for name, weight in painting.get_submodule(part).state_dict().items():
            assert weight.equal(theirs[name])
    assert painting.config.for_inpainting and not plain.config.for_inpainting


def test_a_folder_elsewhere_has_all_parts_itself(tmp_path):
    model = load_model("tiny-inpainting", device="cpu")
    save_model(model, tmp_path / "m", layout="diffusers")
    assert load_model(tmp_path / "m", device="cpu").config == model.config
    for file in (tmp_path / "m" / "vae").iterdir():
        file.unlink()
    (tmp_path / "m" / "vae").rmdir()
    with pytest.raises(CheckpointError, match="no weights of the autoencoder"):
        load_model(tmp_path / "m")


def test_all_weights_together_are_small():
    assert sum(f.stat().st_size for f in MODELS.rglob("*.safetensors")) <= MOST
