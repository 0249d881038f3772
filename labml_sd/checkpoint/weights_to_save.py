r"""The weights of a model under the names that its configuration has, for a file.

torch.compile puts `_orig_mod.` into names, a parametrization `parametrizations.`. A file with
such names could not be loaded, so the plain names are found again, or the model is refused.

Maps       LatentDiffusion -> {part: {name: tensor on the CPU}}
Tests      tests/checkpoint/test_weights_to_save.py
"""

import re

from torch import Tensor, nn

from labml_sd.checkpoint.networks import networks, wanted_shapes
from labml_sd.checkpoint.report import few
from labml_sd.errors import CheckpointError
from labml_sd.latent_diffusion import LatentDiffusion

COMPILED = "_orig_mod."
PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\..*")


def weights_to_save(model: LatentDiffusion) -> dict[str, dict[str, Tensor]]:
    """Every weight as a plain tensor. CheckpointError if a name or a shape is wrong."""
    return {
        part: _weights(network, part, wanted_shapes(model.config)[part])
        for part, network in networks(model).items()
    }


def _weights(
    network: nn.Module, part: str, wanted: dict[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    found = {PARAMETRIZED.sub(r"\1", key.replace(COMPILED, "")) for key in network.state_dict()}
    for title, names in (("missing", wanted.keys() - found), ("extra", found - wanted.keys())):
        if names:
            raise CheckpointError(
                f"{part}: not the weights that its configuration has: "
                f"{few(title, sorted(names))}; undo what was built into it before saving"
            )
    weights: dict[str, Tensor] = {}
    storages: set[int] = set()
    for key, shape in wanted.items():
        owner, _, name = key.rpartition(".")
        tensor = getattr(network.get_submodule(owner), name).detach()
        if tensor.shape != shape or tensor.is_meta:
            state = "no numbers" if tensor.is_meta else f"the shape {list(tensor.shape)}"
            raise CheckpointError(
                f"{part}: {key} has {state}, expected numbers of shape {list(shape)}; "
                "give the network its own weights before saving"
            )
        tensor = tensor.cpu().contiguous()
        is_tied = tensor.untyped_storage().data_ptr() in storages
        weights[key] = tensor.clone() if is_tied else tensor
        storages.add(tensor.untyped_storage().data_ptr())
    return weights
