"""The cells for real weights run on a GPU, at full size, with a file of random weights."""

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from labml_sd import save_model
from labml_sd.config import sd_v1
from labml_sd.latent_diffusion import LatentDiffusion

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def checkpoint(tokenizer, randomise, tmp_path_factory):
    """A file of SD v1's shapes in float16 with random weights and a small vocabulary."""
    v1, n = sd_v1(), len(tokenizer)
    text_encoder = replace(v1.text_encoder, vocab_size=n, bos_id=n - 2, eos_id=n - 1)
    config = replace(v1, text_encoder=text_encoder)
    with torch.device("meta"):
        model = LatentDiffusion(config, tokenizer)
    path = tmp_path_factory.mktemp("v1") / "random.safetensors"
    save_model(randomise(model.to_empty(device="cpu")).half(), path, layout="compvis")
    return path


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name",
    [
        "13_txt2img",
        "14_img2img",
        "15_inpainting",
        "17_stable_diffusion",
        "18_real_checkpoint",
    ],
)
def test_the_cells_for_real_weights_run(name, checkpoint, monkeypatch):
    monkeypatch.setenv("LABML_SD_CHECKPOINT", str(checkpoint))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute()
    tagged = [cell for cell in notebook.cells if "weights" in cell.metadata.get("tags", [])]
    assert tagged
    said = "".join(output.get("text", "") for cell in tagged for output in cell.outputs)
    assert "skipped" not in said
    assert "no checkpoint" not in said
    assert any("image/png" in o.get("data", {}) for cell in tagged for o in cell.outputs)
