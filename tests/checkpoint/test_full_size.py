"""Single files of full shape, as others publish them: random numbers in float16, no metadata.

`pytest -m full_size tests/checkpoint` takes minutes, 3 GB of disk and 8 GB of memory.
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from labml_sd.checkpoint import check, load_model
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.layouts import single_file
from labml_sd.checkpoint.layouts.compvis import OPENCLIP, as_file
from labml_sd.checkpoint.networks import networks, wanted_shapes
from labml_sd.config import inpainting, sd_v1, sd_v2

pytestmark = pytest.mark.full_size

CONFIGS = {"v1": sd_v1(), "v2": sd_v2(), "v1 in-painting": inpainting(sd_v1())}
OWN = 2**28  # bytes beside the weights: another copy of the largest network would be 1.7e9
BIAS = "model.diffusion_model.out.2.bias"
CHILD = Path(__file__).with_name("full_size_child.py")


def unused(config):
    """What a published file has beside the weights that are used."""
    tables = {name: torch.rand(1000) for name in ("betas", "alphas_cumprod")}
    if not config.unet.linear_projections:
        return tables
    last = f"{OPENCLIP}transformer.resblocks.23"
    text = {f"{last}.ln_1.weight": (1024,), f"{last}.attn.in_proj_weight": (3072, 1024)}
    text |= {f"{OPENCLIP}text_projection": (1024, 1024), f"{OPENCLIP}logit_scale": ()}
    return tables | {name: torch.rand(shape).half() for name, shape in text.items()}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def path(config, tmp_path_factory):
    """The file. Its U-Net answers with its last bias, so that a v2 file predicts v."""
    generator, v2 = torch.Generator().manual_seed(0), config.unet.linear_projections
    parts = {
        part: {
            key: torch.empty(shape, dtype=torch.float16).normal_(std=0.02, generator=generator)
            for key, shape in keys.items()
        }
        for part, keys in wanted_shapes(config).items()
    }
    parts["unet"]["out.2.weight"].zero_()
    parts["unet"]["out.2.bias"].fill_(-1.5)
    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file(as_file(parts, openclip_text=v2) | unused(config), path)
    del parts
    yield path
    path.unlink()


def test_every_number_that_is_used_is_read_once_and_arrives_bit_for_bit(
    path, config, monkeypatch
):
    reads = Counter()

    def counted(path):
        weights = open_weights(path)
        return replace(weights, read=lambda name: reads.update([name]) or weights.read(name))

    monkeypatch.setattr(single_file, "open_weights", counted)
    model = load_model(path, device="cpu", dtype="float16", prediction=config.prediction)
    assert model.config == config
    weights = {part: net.state_dict() for part, net in networks(model).items()}
    loaded = as_file(weights, openclip_text=config.unet.linear_projections)
    with safe_open(path, "pt") as file:
        assert [n for n in loaded if not torch.equal(loaded[n], file.get_tensor(n))] == []
        assert set(file.keys()) - loaded.keys() == unused(config).keys()
    # OpenCLIP has queries, keys and values in one tensor: each is a third of it
    assert reads == {name: 3 if ".in_proj_" in name else 1 for name in loaded}
    report = check(path)
    assert report.ok
    assert set(report.ignored) == unused(config).keys()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux counts it")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_load_takes_the_memory_of_the_model_and_little_more(path, config, dtype):
    parts = wanted_shapes(config).values()
    sizes = [torch.Size(shape).numel() for keys in parts for shape in keys.values()]
    converted = 0 if dtype == "float16" else getattr(torch, dtype).itemsize * sum(sizes)
    command = [sys.executable, str(CHILD), str(path), dtype, str(converted + OWN)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() == config.name


@pytest.mark.parametrize(("bias", "kind"), [(-1.5, "v"), (0.5, "eps")])
def test_what_a_v2_file_predicts_is_found_by_asking_its_unet(path, config, bias, kind):
    if not config.unet.linear_projections:
        assert load_model(path, device="cpu", dtype="float16").config.prediction == "eps"
        return
    with path.open("r+b") as file:
        n_header = int.from_bytes(file.read(8), "little")
        start, end = json.loads(file.read(n_header))[BIAS]["data_offsets"]
        file.seek(8 + n_header + start)
        file.write(torch.full((4,), bias, dtype=torch.float16).numpy().tobytes())
        assert file.tell() == 8 + n_header + end
    assert load_model(path, device="cpu", dtype="float16").config == sd_v2(kind)
