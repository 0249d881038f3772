import pytest
import torch
from torch import Tensor, nn

from labml_sd.config import UNetConfig
from labml_sd.unet import UNet, record_attention

CONFIG = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2),
    attention_levels=(0, 1),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)
BLOCKS = [
    "input_blocks.1.1",
    "input_blocks.3.1",
    "middle_block.1",
    *(f"output_blocks.{i}.1" for i in range(4)),
]
T = torch.tensor([10, 500])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


X, COND = randn(2, 4, 4, 6), randn(2, 5, 6, seed=1)


@pytest.fixture(scope="module")
def unet(randomise):
    return randomise(UNet(CONFIG).double())


def hooks(unet: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def test_there_is_one_map_for_each_call_and_block_in_the_order_they_ran(unet):
    with record_attention(unet) as maps:
        unet(X, T, COND)
        unet(X, T, COND)
    expected = [
        (call, f"{block}.transformer_blocks.0.attn2") for call in (0, 1) for block in BLOCKS
    ]
    assert [(m.call, m.block) for m in maps] == expected


def test_a_map_has_a_row_for_each_position_and_a_column_for_each_token(unet):
    with record_attention(unet) as maps:
        unet(X, T, COND)
    shapes = [tuple(m.probabilities.shape) for m in maps]
    large, small = (2, 2, 24, 5), (2, 2, 6, 5)
    assert shapes == [large, small, small, small, small, large, large]


def test_a_prompt_of_two_chunks_has_a_column_for_each_token(unet):
    with record_attention(unet) as maps:
        unet(X, T, torch.cat([COND] * 31, dim=1)[:, :154])
    assert {m.probabilities.shape[-1] for m in maps} == {154}


def test_the_weights_of_each_position_sum_to_one(unet):
    with record_attention(unet) as maps:
        unet(X, T, COND)
    for m in maps:
        torch.testing.assert_close(
            m.probabilities.sum(dim=-1), torch.ones(m.probabilities.shape[:3])
        )


def test_a_map_is_the_softmax_over_the_tokens_of_what_attn2_was_given(unet):
    given = {}
    attn2 = unet.get_submodule("middle_block.1.transformer_blocks.0.attn2")
    handle = attn2.register_forward_pre_hook(lambda _, args: given.update(x=args[0]))
    with record_attention(unet) as maps:
        unet(X, T, COND)
    handle.remove()
    q, k = attn2.to_q(given["x"]), attn2.to_k(COND)
    first_head = (q[..., :8] @ k[..., :8].mT / 8**0.5).softmax(dim=-1)
    recorded = next(m for m in maps if m.block.startswith("middle_block")).probabilities
    torch.testing.assert_close(recorded[:, 0], first_head.float())


def test_maps_are_float32_on_the_cpu_without_gradients(unet):
    with record_attention(unet) as maps:
        unet(X.clone().requires_grad_(), T, COND)
    assert {(m.probabilities.dtype, m.probabilities.device.type) for m in maps} == {
        (torch.float32, "cpu")
    }
    assert not any(m.probabilities.requires_grad for m in maps)


@pytest.mark.parametrize("kind", ["flash", "normal", "sliced"])
def test_the_result_is_the_same_bit_for_bit_with_and_without_recording(randomise, kind):
    unet = randomise(UNet(CONFIG).double())
    unet.use_attention(kind)
    without = unet(X, T, COND)
    with record_attention(unet):
        recorded = unet(X, T, COND)
    assert torch.equal(recorded, without)


def test_nothing_is_recorded_outside_the_block(unet):
    with record_attention(unet) as maps:
        pass
    unet(X, T, COND)
    assert maps == []
    assert hooks(unet) == 0


def test_the_hooks_are_removed_after_an_exception(unet):
    with pytest.raises(ValueError, match="in the middle"), record_attention(unet):
        assert hooks(unet) == len(BLOCKS) + 1
        raise ValueError("in the middle")
    assert hooks(unet) == 0


def test_recordings_inside_one_another_both_see_the_call(unet):
    with record_attention(unet) as outer, record_attention(unet) as inner:
        unet(X, T, COND)
    assert [m.block for m in outer] == [m.block for m in inner]
