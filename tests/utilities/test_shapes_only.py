import pytest
import torch
from torch import nn

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import tiny
from labml_sd.text_encoder import CLIPTextTransformer
from labml_sd.unet import UNet
from labml_sd.utilities.shapes_only import shapes_only

MAKERS = [
    lambda: CLIPTextTransformer(tiny().text_encoder),
    lambda: UNet(tiny().unet),
    lambda: Autoencoder(tiny().autoencoder),
]


@pytest.mark.parametrize("make", MAKERS, ids=["text encoder", "unet", "autoencoder"])
def test_a_network_has_the_shapes_of_a_real_one_and_no_memory(make):
    real = {name: (tensor.shape, tensor.dtype) for name, tensor in make().state_dict().items()}
    with shapes_only():
        empty = make().state_dict()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in empty.items()} == real
    assert all(tensor.is_meta for tensor in empty.values())


def test_nothing_is_initialised(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.init, "_no_grad_normal_", lambda *_: asked.append(1))
    with shapes_only():
        nn.Embedding(3, 2)
    assert asked == []
    nn.Embedding(3, 2)
    assert asked == [1]


def test_afterwards_layers_are_initialised_again():
    with pytest.raises(ZeroDivisionError), shapes_only():
        1 / 0  # noqa: B018
    layer = nn.Linear(2, 2)
    assert layer.weight.device == torch.device("cpu") and layer.weight.std() > 0
