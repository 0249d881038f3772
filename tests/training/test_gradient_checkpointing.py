import torch

from labml_sd.training.gradient_checkpointing import checkpoint_blocks


def gradient(unet):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, unet.config.in_channels, 8, 8, generator=draw)
    cond = torch.randn(2, 5, unet.config.d_cond, generator=draw, requires_grad=True)
    y = unet(x, torch.tensor([3, 700]), cond)
    y.square().mean().backward()
    return y.detach(), cond.grad


def test_results_and_gradients_are_the_same_bit_for_bit(make_model):
    plain, saving = make_model().unet, make_model().unet
    checkpoint_blocks(saving)
    for ours, wanted in zip(gradient(saving), gradient(plain), strict=True):
        assert torch.equal(ours, wanted)


def kept_bytes(unet) -> int:
    """The memory of what the forward pass keeps for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    cond = torch.randn(2, 5, unet.config.d_cond, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        unet(torch.randn(2, unet.config.in_channels, 32, 32), torch.tensor([3, 700]), cond)
    return sum(kept.values())


def test_less_is_kept(make_model):
    plain, saving = make_model().unet, make_model().unet
    checkpoint_blocks(saving)
    assert kept_bytes(saving) < 0.7 * kept_bytes(plain)


def test_pictures_are_drawn_as_before(make_model):
    plain, saving = make_model().unet, make_model().unet
    checkpoint_blocks(saving)
    x, cond = torch.randn(1, 4, 8, 8), torch.randn(1, 5, plain.config.d_cond)
    with torch.inference_mode():
        results = [unet(x, torch.tensor([9]), cond) for unet in (plain, saving)]
    assert torch.equal(*results)
