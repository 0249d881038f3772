import pytest
import torch

from labml_sd.checkpoint import check, load_model, save_model
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.layouts.compvis import OPENCLIP, find_names
from labml_sd.checkpoint.layouts.openclip import our_names, packed
from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder import CLIPTextTransformer

SMALL = TextEncoderConfig(
    vocab_size=20, n_positions=7, d_model=8, n_layers=2, n_heads=2, d_mlp=16, activation="gelu"
)


@pytest.fixture
def text():
    torch.manual_seed(0)
    return CLIPTextTransformer(SMALL).requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("token_embedding.weight", ["embeddings.token_embedding.weight"]),
        ("positional_embedding", ["embeddings.position_embedding.weight"]),
        ("ln_final.bias", ["final_layer_norm.bias"]),
        ("transformer.resblocks.11.ln_1.weight", ["encoder.layers.11.layer_norm1.weight"]),
        ("transformer.resblocks.0.mlp.c_fc.bias", ["encoder.layers.0.mlp.fc1.bias"]),
        (
            "transformer.resblocks.3.attn.in_proj_bias",
            [f"encoder.layers.3.self_attn.{x}_proj.bias" for x in "qkv"],
        ),
        ("text_projection", []),
        ("logit_scale", []),
        ("attn_mask", []),
        ("transformer.resblocks.0.mlp.gelu", []),
    ],
)
def test_a_name_is_translated(name, ours):
    assert our_names(name) == ours


def test_packing_and_splitting_give_every_weight_back(text):
    weights = text.state_dict()
    file = packed(weights)
    assert len(file) == len(weights) - 2 * 2 * 2  # in each layer two tensors in place of six
    read = {}
    for name, tensor in file.items():
        keys = our_names(name)
        read |= dict(zip(keys, tensor.chunk(len(keys)), strict=True))
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_a_layer_beyond_those_that_are_used_is_reported_not_loaded():
    names = [f"{OPENCLIP}transformer.resblocks.{i}.ln_1.weight" for i in (0, 22, 23)]
    found, rest = find_names([*names, f"{OPENCLIP}logit_scale"], 23)
    assert list(found["text_encoder"]) == [
        "encoder.layers.0.layer_norm1.weight",
        "encoder.layers.22.layer_norm1.weight",
    ]
    assert rest == [names[2], f"{OPENCLIP}logit_scale"]


@pytest.fixture
def v2_model(config, make_v2):
    return make_v2(config)


def test_a_file_of_sd_v2_makes_a_round_trip_through_a_folder(v2_model, tmp_path):
    first, folder, second = (
        tmp_path / name for name in ("a.safetensors", "b", "c.safetensors")
    )
    save_model(v2_model, first, layout="compvis")
    names = open_weights(first).tensors
    assert f"{OPENCLIP}transformer.resblocks.0.attn.in_proj_weight" in names
    save_model(load_model(first, device="cpu", dtype="float32"), folder)
    again = load_model(folder, device="cpu", dtype="float32")
    assert again.config == v2_model.config
    save_model(again, second, layout="compvis")
    assert first.read_bytes() == second.read_bytes()


def test_what_openclip_has_beside_the_used_weights_is_reported(v2_model, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "a.safetensors"
    save_model(v2_model, path, layout="compvis")
    n = v2_model.config.text_encoder.n_layers
    unused = [
        f"{OPENCLIP}transformer.resblocks.{n}.ln_1.weight",
        f"{OPENCLIP}text_projection",
        f"{OPENCLIP}logit_scale",
    ]
    metadata = open_weights(path).metadata
    save_file(load_file(path) | {name: torch.ones(2) for name in unused}, path, dict(metadata))
    report = check(path)
    assert report.ok
    assert set(unused) <= set(report.ignored)
