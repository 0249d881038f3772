"""What is saved has the names that a loader expects, whatever was done to the model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import labml_sd as sd
from labml_sd.checkpoint.weights_to_save import weights_to_save
from labml_sd.errors import CheckpointError

LAYOUTS = [("diffusers", "folder"), ("compvis", "file.safetensors")]


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def equal(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize(("layout", "name"), LAYOUTS)
@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_network_is_saved_under_its_own_names(
    make_model, tmp_path, layout, name, whole
):
    changed = make_model()
    plain = copy.deepcopy(changed.unet)
    if whole:
        changed.unet = torch.compile(changed.unet, backend="eager")
    else:
        changed.unet.middle_block[0] = torch.compile(
            changed.unet.middle_block[0], backend="eager"
        )
    sd.save_model(changed, tmp_path / name, layout=layout)
    assert equal(sd.load_model(tmp_path / name).unet, plain)


def test_a_parametrized_weight_is_saved_as_the_weight_that_is_used(make_model, tmp_path):
    changed = make_model()
    convolution = changed.unet.out[2]
    parametrize.register_parametrization(convolution, "weight", Doubled())
    parametrizations.weight_norm(changed.unet.time_embed[0])
    sd.save_model(changed, tmp_path / "folder")
    loaded = sd.load_model(tmp_path / "folder").unet
    assert torch.equal(loaded.out[2].weight, convolution.weight)
    assert torch.equal(loaded.time_embed[0].weight, changed.unet.time_embed[0].weight)


def grow(model):
    model.unet.extra = nn.Linear(2, 2)


def shrink(model):
    del model.unet.time_embed[2]


def reshape(model):
    model.unet.out[2] = nn.Conv2d(8, 5, 3)


def lora(model):  # a layer that holds the old one and adds to it
    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.weight, self.bias = base, base.weight, base.bias

    model.unet.time_embed[0] = Adapted(model.unet.time_embed[0])


def without_numbers(model):
    model.unet.out[2].to("meta")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (grow, "unet: .* extra 2: extra.bias, extra.weight"),
        (shrink, "unet: .* missing 2: time_embed.2.bias"),
        (reshape, r"unet: out.2.weight has the shape \[5, 8, 3, 3\], expected"),
        (lora, "unet: .* extra 2: time_embed.0.base.bias"),
        (without_numbers, "unet: out.2.weight has no numbers"),
    ],
)
@pytest.mark.parametrize(("layout", "name"), LAYOUTS)
def test_other_weights_are_refused_and_the_old_file_stays(
    make_model, model, tmp_path, layout, name, change, message
):
    sd.save_model(model, tmp_path / name, layout=layout)
    changed = make_model()
    change(changed)
    with pytest.raises(CheckpointError, match=message) as error:
        sd.save_model(changed, tmp_path / name, layout=layout)
    assert "\n" not in str(error.value)
    assert equal(sd.load_model(tmp_path / name).unet, model.unet)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("layout", "name"), LAYOUTS)
def test_tied_weights_are_saved_twice(make_model, tmp_path, layout, name):
    tied = make_model()
    middle = tied.unet.middle_block
    middle[0].out_layers[3].weight = middle[2].out_layers[3].weight
    sd.save_model(tied, tmp_path / name, layout=layout)
    assert equal(sd.load_model(tmp_path / name).unet, tied.unet)


def test_views_of_one_buffer_are_saved_apart(make_model, tmp_path):
    flat = make_model()
    weights = list(flat.unet.parameters())
    buffer = nn.utils.parameters_to_vector(weights)
    nn.utils.vector_to_parameters(buffer, weights)
    sd.save_model(flat, tmp_path / "file.safetensors", layout="compvis")
    assert equal(sd.load_model(tmp_path / "file.safetensors").unet, flat.unet)


def test_plain_weights_are_not_copied(model):
    saved = weights_to_save(model)["unet"]
    assert saved["out.2.bias"].data_ptr() == model.unet.out[2].bias.data_ptr()
