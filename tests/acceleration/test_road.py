import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from labml_sd.acceleration import decode, encode, encode_prompt, evaluate_with, road
from labml_sd.acceleration.compiled import COMPILED, compile_unet
from labml_sd.acceleration.road import is_own, is_plain, made
from labml_sd.checkpoint import load_model
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import img2img, inpaint, txt2img
from labml_sd.sampler import Guidance, Level
from labml_sd.unet import record_attention

LEVEL = Level(t=500.0, alpha_bar=0.3)
QUICK = {"steps": 3, "progress": False}


@pytest.fixture
def model(make_model):
    """A model of the test's own, on the fast road."""
    model = make_model()
    model.fast = True
    return model


@pytest.fixture
def ways(monkeypatch):
    """The networks that take the fast road, in the order in which they are asked for."""
    seen, make = [], road.made
    monkeypatch.setattr(
        road, "made", lambda kind, network: seen.append(kind.__name__) or make(kind, network)
    )
    return seen


def bits(images):
    return [image.tobytes() for image in images]


def half_mask(width, height):
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


def eps_of(model, randn, uncond=True):
    """Guided noise for two pictures, each under its own prompt."""
    x, c = randn(2, 4, 4, 6), randn(3, 77, 16, seed=1).to(model.dtype)
    guidance = Guidance(3.0 if uncond else 1)
    return evaluate_with(model, c[:2], c[2:] if uncond else None, guidance)(x, LEVEL)


def slow(model):
    """The same weights on the plain road."""
    other = copy.deepcopy(model)
    other.fast = False
    return other


def test_the_model_says_which_road_is_taken(model, ways, randn):
    z, image = randn(1, 4, 4, 4), randn(1, 3, 32, 32)
    for fast in (True, False):
        model.fast = fast
        encode_prompt(model, ["a house"])
        eps_of(model, randn)
        decode(model.autoencoder, z, fast=fast)
        encode(model.autoencoder, image, fast=fast)
    assert ways == ["FastText", "FastUNet", "FastDecoder", "FastEncoder"]


@pytest.mark.parametrize("uncond", [True, False])
def test_both_roads_lead_to_the_same_numbers(model, randn, assert_close, uncond):
    model.double()
    prompts = ["a red house", "", "a boat " * 60]
    with pytest.warns(UserWarning, match="too long"):
        assert_close(encode_prompt(model, prompts), model.encode_prompt(prompts), 1e-12)
    assert_close(eps_of(model, randn, uncond), eps_of(slow(model), randn, uncond), 1e-12)
    z, image = randn(2, 4, 4, 6), randn(2, 3, 32, 48)
    assert_close(decode(model.autoencoder, z, fast=True), model.decode_latent(z), 1e-12)
    assert_close(encode(model.autoencoder, image, fast=True), model.encode_image(image), 1e-12)


@pytest.mark.parametrize("fast", [True, False])
def test_the_autoencoder_takes_any_number_type_and_answers_in_its_own(model, randn, fast):
    assert decode(model.autoencoder, randn(1, 4, 4, 4), fast=fast).dtype == torch.float32
    assert (
        encode(model.autoencoder, randn(1, 3, 32, 32).bfloat16(), fast=fast).dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    "device, pixels, pays",
    [
        ("cpu", 1, True),
        ("cuda", 512 * 512, False),
        ("cuda", 1024 * 1024, True),
        ("mps", 1024 * 1024, False),
    ],
)
def test_bands_pay_on_a_cpu_and_for_large_pictures_on_cuda(device, pixels, pays):
    assert road.pays(torch.device(device), pixels) is pays


# Weights are seen as they are


def in_place(model):
    model.unet.middle_block[0].in_layers[2].weight.mul_(2)
    model.autoencoder.decoder.conv_in.weight.mul_(2)
    model.autoencoder.encoder.conv_in.weight.mul_(2)
    model.text_encoder.transformer.encoder.layers[0].mlp.fc1.weight.mul_(2)


def through_data(model):
    for network in (model.text_encoder, model.unet, model.autoencoder):
        for parameter in network.parameters():
            parameter.data.mul_(0.9)


def new_data(model):
    for network in (model.text_encoder, model.unet, model.autoencoder):
        for parameter in network.parameters():
            parameter.data = parameter.data * 0.9


def assigned(model):
    state = {name: value * 0.9 for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)


def copied(model):
    model.load_state_dict({name: value * 0.9 for name, value in model.state_dict().items()})


def another_type(model):
    model.to(torch.float64)


CHANGES = [in_place, through_data, new_data, assigned, copied, another_type]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_weights_are_seen_at_the_next_picture(model, ways, randn, assert_close, change):
    z, image = randn(1, 4, 4, 4), randn(1, 3, 32, 32)

    def answers(model):
        pixels = decode(model.autoencoder, z, fast=model.fast)
        latent = encode(model.autoencoder, image, fast=model.fast)
        c = encode_prompt(model, ["a red house"])
        return [eps_of(model, randn), pixels.double(), latent.double(), c.double()]

    before = answers(model)
    change(model)
    for old, found, wanted in zip(before, answers(model), answers(slow(model)), strict=True):
        assert change is another_type or not torch.allclose(old, wanted, rtol=1e-2)
        assert_close(found, wanted, 1e-12 if change is another_type else 1e-4)
    assert ways == ["FastDecoder", "FastEncoder", "FastText", "FastUNet"] * 2


def test_a_fast_network_is_made_once_and_anew_when_the_weights_change(model):
    calls = []

    def make(network):
        calls.append(network)
        return object()

    first = made(make, model.unet)
    assert made(make, model.unet) is first
    model.unet.out[2].bias.add_(1)
    second = made(make, model.unet)
    assert second is not first and made(make, model.unet) is second
    assert calls == [model.unet] * 2


def test_what_was_made_for_old_weights_is_let_go(model):
    class Ready:
        pass

    old = [weakref.ref(made(lambda _, i=i: Ready(), model.unet)) for i in range(2)]
    model.unet.out[2].bias.add_(1)
    made(lambda _: Ready(), model.unet)
    gc.collect()
    assert [ref() for ref in old] == [None, None]


def test_a_model_that_nobody_holds_is_let_go(make_model, randn):
    model = make_model()
    model.fast = True
    eps_of(model, randn)
    decode(model.autoencoder, randn(1, 4, 4, 4), fast=True)
    encode(model.autoencoder, randn(1, 3, 32, 32), fast=True)
    encode_prompt(model, ["a house"])
    gone = [
        weakref.ref(part) for part in (model, model.unet, model.autoencoder, model.text_encoder)
    ]
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4


def test_a_copy_of_a_model_has_weights_of_its_own_on_the_fast_road(model, randn, assert_close):
    before = eps_of(model, randn)
    other = copy.deepcopy(model)
    in_place(other)
    assert other.fast and torch.equal(eps_of(model, randn), before)
    assert_close(eps_of(other, randn), eps_of(slow(other), randn), 1e-5)
    assert not torch.equal(eps_of(other, randn), before)


# What somebody has built in is not passed by


def use_normal_attention(model):
    model.unet.use_attention("normal")


def use_sliced_attention(model):
    model.unet.use_attention("sliced")


def hook_a_layer(model):
    model.unet.middle_block[0].register_forward_hook(lambda module, args, out: 2 * out)


def hook_before_a_layer(model):
    model.unet.out[2].register_forward_pre_hook(lambda module, args: (2 * args[0],))


def hook_the_unet(model):
    model.unet.register_forward_hook(lambda module, args, out: 2 * out)


def hook_the_model(model):
    model.register_forward_hook(lambda module, args, out: 2 * out)


def replace_a_layer(model):
    class Louder(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    model.unet.out[2] = Louder(8, 4, 3, padding=1).requires_grad_(False)


def replace_an_activation(model):
    model.unet.middle_block[0].in_layers[1] = nn.Identity()


def add_a_layer(model):
    model.unet.out.append(nn.Dropout(0.0))


def give_a_block_its_own_forward(model):
    block = model.unet.middle_block[0]
    block.forward = lambda x, t_emb: 2 * type(block).forward(block, x, t_emb)


def give_the_model_its_own_forward(model):
    model.forward = lambda x, t, c: 2 * model.unet(x, t, c)


def derive_from_the_model(model):
    class Louder(LatentDiffusion):
        def forward(self, x, t, c):
            return 2 * super().forward(x, t, c)

    model.__class__ = Louder


def wrap_around_the_edges(model):
    for module in model.unet.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"


def another_eps(model):
    model.unet.out[0].eps = 0.1


def other_heads(model):
    for module in model.unet.modules():
        if hasattr(module, "n_heads"):
            module.n_heads = 1


BUILT_IN = [
    use_normal_attention,
    use_sliced_attention,
    hook_a_layer,
    hook_before_a_layer,
    hook_the_unet,
    hook_the_model,
    replace_a_layer,
    replace_an_activation,
    add_a_layer,
    give_a_block_its_own_forward,
    give_the_model_its_own_forward,
    derive_from_the_model,
    wrap_around_the_edges,
    another_eps,
    other_heads,
]


@pytest.mark.parametrize("build_in", BUILT_IN, ids=lambda build_in: build_in.__name__)
def test_a_unet_with_something_built_in_takes_the_plain_road(model, ways, randn, build_in):
    build_in(model)
    fast = eps_of(model, randn)
    assert ways == []
    model.fast = False
    assert torch.equal(fast, eps_of(model, randn))


def hook_the_decoder(autoencoder):
    autoencoder.decoder.register_forward_hook(lambda module, args, out: 2 * out)


def own_decode(autoencoder):
    autoencoder.decode = lambda z: torch.zeros(1, 3, 32, 32)


def replace_an_attention(autoencoder):
    autoencoder.decoder.mid.attn_1 = nn.Identity()


@pytest.mark.parametrize("build_in", [hook_the_decoder, own_decode, replace_an_attention])
def test_an_autoencoder_with_something_built_in_takes_the_plain_road(
    model, ways, randn, build_in
):
    build_in(model.autoencoder)
    z = randn(1, 4, 4, 4).float()
    assert torch.equal(decode(model.autoencoder, z, fast=True), model.autoencoder.decode(z))
    assert ways == []


def hook_a_text_layer(model):
    model.text_encoder.transformer.encoder.layers[0].register_forward_hook(
        lambda module, args, out: 2 * out
    )


def hook_the_embedder(model):
    model.text_encoder.register_forward_hook(lambda module, args, out: 2 * out)


def give_the_model_its_own_prompts(model):
    model.encode_prompt = lambda prompts: torch.ones(len(prompts), 77, 16)


def put_in_another_embedder(model):
    class Constant(nn.Module):
        def forward(self, prompts):
            return torch.ones(len(prompts), 77, 16)

    model.text_encoder = Constant()


@pytest.mark.parametrize(
    "build_in",
    [
        hook_a_text_layer,
        hook_the_embedder,
        give_the_model_its_own_prompts,
        put_in_another_embedder,
        hook_the_model,
    ],
)
def test_a_text_encoder_with_something_built_in_takes_the_plain_road(model, ways, build_in):
    build_in(model)
    assert torch.equal(encode_prompt(model, ["a house"]), model.encode_prompt(["a house"]))
    assert ways == []


def test_another_tokenizer_is_nothing_built_in(model, ways):
    words = model.text_encoder.tokenizer
    model.text_encoder.tokenizer = copy.deepcopy(words)
    encode_prompt(model, ["a house"])
    assert ways == ["FastText"]


def test_training_mode_and_gradients_are_nothing_built_in(model):
    model.train().requires_grad_(True)
    assert is_plain(model.unet) and is_plain(model.autoencoder) and is_plain(model.text_encoder)
    assert is_own(model)


def test_a_compiled_unet_is_plain_but_for_that(model, ways, randn, monkeypatch):
    compile_unet(model.unet, "eager")
    assert not is_plain(model.unet)
    assert is_plain(model.unet, but=COMPILED)
    hook_the_unet(model)
    assert not is_plain(model.unet, but=COMPILED)


def test_a_hook_that_is_gone_leaves_the_fast_road_open(model, ways, randn):
    handle = model.unet.register_forward_hook(lambda *_: None)
    eps_of(model, randn)
    handle.remove()
    eps_of(model, randn)
    assert ways == ["FastUNet"]


def test_attention_is_recorded_on_either_road_alike(model):
    model.text_encoder.register_forward_hook(
        lambda *_: None
    )  # plain on both: the U-Net gets the same bits
    recorded, latents = [], []
    for fast in (True, False):
        model.fast, steps = fast, []
        with record_attention(model.unet) as maps:
            txt2img(model, "a house", on_step=steps.append, **QUICK)
        recorded.append([(m.call, m.block, m.probabilities.tolist()) for m in maps])
        latents.append(steps[-1].x)
    assert torch.equal(*latents)
    assert len(recorded[0]) > 0 and recorded[0] == recorded[1]


# Pictures


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny", device="cpu")


TASKS = {
    "txt2img": lambda model, photo: txt2img(
        model, ["a red house", "a boat"], width=96, **QUICK
    ),
    "img2img": lambda model, photo: img2img(
        model, "a red house", photo(120, 75), strength=0.7, **QUICK
    ),
    "inpaint": lambda model, photo: inpaint(
        model, "a red house", photo(120, 75), half_mask(120, 75), **QUICK
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_pictures_of_both_roads_differ_by_a_grey_level_in_few_places(tiny, photo, task):
    drawn = []
    for fast in (True, False):
        tiny.fast = fast
        drawn.append(np.stack([np.asarray(i).astype(int) for i in TASKS[task](tiny, photo)]))
    difference = np.abs(drawn[0] - drawn[1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_kept_pixels_are_bit_equal_on_the_fast_road(model, photo):
    image, mask = photo(45, 27), half_mask(45, 27)
    (painted,) = inpaint(model, "a house", image, mask, **QUICK)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])
    assert (np.asarray(painted)[~kept] != np.asarray(image)[~kept]).any(axis=-1).mean() > 0.8


def test_a_run_on_the_fast_road_repeated_gives_the_same_bits(model):
    assert bits(txt2img(model, "a house", **QUICK)) == bits(txt2img(model, "a house", **QUICK))
