import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_clip import clip_folder
from torch import Tensor

from labml_sd.checkpoint import save_model
from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.layouts.compvis import file_name
from labml_sd.checkpoint.networks import networks
from labml_sd.config import AutoencoderConfig, ModelConfig, TextEncoderConfig, UNetConfig
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.training.learn_bpe import learn_bpe

__all__ = ["clip_folder"]
sys.path.insert(0, str(Path(__file__).parent))  # the tests import `hostile`


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> Path:
    """A tokenizer folder of 516 entries: the bytes, two merges, two marks."""
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, *learn_bpe(["a red house"], 516))
    return folder


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return ModelConfig(
        name="small",
        text_encoder=TextEncoderConfig(
            vocab_size=516, d_model=16, n_layers=2, n_heads=2, d_mlp=32, bos_id=514, eos_id=515
        ),
        unet=UNetConfig(
            channels=8,
            channel_multipliers=(1, 2),
            attention_levels=(1,),
            n_heads=2,
            d_cond=16,
            norm_groups=4,
        ),
        autoencoder=AutoencoderConfig(
            channels=8,
            channel_multipliers=(1, 2),
            n_res_blocks=1,
            norm_groups=4,
            scale_factor=0.5,
        ),
        image_size=32,
        guidance_scale=2.5,
    )


@pytest.fixture(scope="session")
def model(config, words) -> LatentDiffusion:
    torch.manual_seed(0)
    model = LatentDiffusion(config, load_tokenizer(words)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.1)  # so that no weight is left at a norm's 1 or a bias's 0
    return model


@pytest.fixture(scope="session")
def state(model) -> dict[str, Tensor]:
    """The weights as a CompVis file names them."""
    parts = networks(model).items()
    return {
        file_name(part, key): v.clone()
        for part, net in parts
        for key, v in net.state_dict().items()
    }


@pytest.fixture
def folder(model, tmp_path) -> Path:
    save_model(model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def assert_same() -> Callable[[LatentDiffusion, LatentDiffusion], None]:
    def check(found: LatentDiffusion, wanted: LatentDiffusion) -> None:
        ours, theirs = wanted.state_dict(), found.state_dict()
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []

    return check


@pytest.fixture
def listed() -> Callable[..., Weights]:
    """Weights with names and shapes, and no numbers."""

    def make(entries: tuple[str, ...] = (), **shapes: tuple[int, ...]) -> Weights:
        tensors = {name: TensorInfo(shape, "float16") for name, shape in shapes.items()}
        return Weights(
            path=Path("x"),
            tensors=tensors,
            read=lambda name: torch.empty(0),
            entries=frozenset(entries),
        )

    return make


@pytest.fixture
def sparse_file() -> Callable[[Path, dict[str, tuple[int, ...]]], Path]:
    """A safetensors file in float16 with a hole for the numbers: full size, no disk."""

    def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
        header, end = {}, 0
        for name, shape in shapes.items():
            start, end = end, end + 2 * TensorInfo(shape, "float16").n_parameters
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
        return path

    return write


@pytest.fixture
def make_v2(words, randomise) -> Callable[[ModelConfig], LatentDiffusion]:
    """A model of random weights built as SD v2, from the sizes of another."""

    def make(config: ModelConfig) -> LatentDiffusion:
        text = replace(config.text_encoder, activation="gelu", pad_id=3)
        unet = replace(config.unet, n_heads=8, d_head=4, linear_projections=True)
        v2 = replace(config, name="v2", text_encoder=text, unet=unet, prediction="v")
        return randomise(LatentDiffusion(v2, load_tokenizer(words)).eval())

    return make
