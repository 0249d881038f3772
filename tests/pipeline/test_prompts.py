import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError, PromptError
from labml_sd.pipeline import txt2img
from labml_sd.pipeline.conditioning import ScheduledConditioning
from labml_sd.pipeline.prompts import conditioning_for, encode, same_length
from labml_sd.pipeline.request import make_request
from labml_sd.sampler import Level, Moment
from labml_sd.settings import Settings

LEVEL = Level(t=500.0, alpha_bar=0.3)


def given(model, prompt, **settings):
    strength = settings.pop("strength", 1.0)
    request = make_request(model, prompt, settings, strength=strength)
    return conditioning_for(model, request)


def at(conditioning, step, n_steps, evaluation=0):
    moment = Moment(level=LEVEL, step=step, n_steps=n_steps, evaluation=evaluation)
    return conditioning.at(moment)


def cond(model, text, **settings):
    return encode(model, [text], Settings(**settings))[0]


def test_a_plain_prompt_has_the_embedding_of_the_model(model):
    prompts = ["a red house", "a boat at night"]
    found = given(model, prompts, negative_prompt="snow")
    assert torch.equal(found.cond, model.encode_prompt([*prompts, "snow"])[:2])
    assert torch.equal(found.uncond, model.encode_prompt("snow").expand(2, -1, -1))
    assert found.weights is None


def test_each_distinct_text_is_encoded_once(make_model, monkeypatch):
    model, encoded = make_model(), []
    whole = model.encode_chunks
    monkeypatch.setattr(
        model,
        "encode_chunks",
        lambda chunks, *a: encoded.append(len(chunks)) or whole(chunks, *a),
    )
    found = given(model, ["a house", "a boat", "a house"], negative_prompt="a boat")
    assert encoded == [2, 1]
    assert torch.equal(found.cond[0], found.cond[2]) and torch.equal(
        found.cond[1:2], found.uncond[:1]
    )


def test_a_very_long_prompt_is_read_once_for_all_images(model):
    with pytest.warns(UserWarning, match="the prompt is too long") as told:
        given(model, "a" + "(" * 70_000, n_images=3, guidance_scale=1)
    assert len(told) == 1


def test_embeddings_have_the_number_type_of_the_unet(make_model):
    model = make_model()  # the networks of a model may have different types
    model.unet.to(torch.bfloat16)
    assert given(model, "a house").cond.dtype == torch.bfloat16


def test_clip_skip_takes_an_earlier_layer_and_1_the_models_own(model):
    ids = model.text_encoder.ids(["a house"])
    states = model.text_encoder.transformer.hidden_states(ids)
    norm = model.text_encoder.transformer.final_layer_norm
    for skip in (1, 2):
        assert torch.equal(cond(model, "a house", clip_skip=skip)[None], norm(states[-skip]))


def test_weights_too_large_and_damaged_weights_are_told_apart(make_model):
    model = make_model()
    with pytest.raises(PromptError, match=r"the weights in .* are too large"):
        cond(model, "a (house:" + "9" * 60 + ")")
    model.text_encoder.transformer.final_layer_norm.weight.data.fill_(torch.nan)
    with pytest.raises(GenerationError, match="its weights are damaged"):
        cond(model, "a house")


def test_an_edit_holds_until_its_step_and_equal_steps_share_one_object(model):
    found = given(model, "a [house:boat:0.5]", steps=4, guidance_scale=1)
    assert isinstance(found, ScheduledConditioning) and len(found) == 1
    steps = [at(found, i, 4) for i in range(4)]
    assert steps[0] is steps[1] and steps[2] is steps[3]
    for step, text in ((0, "a house"), (3, "a boat")):
        torch.testing.assert_close(steps[step].cond[0], cond(model, text))
    assert found.uncond is None


def test_steps_are_those_that_run(model):
    found = given(model, "[a|b]", steps=10, strength=0.5)
    assert len(found.by_step) == 5


@pytest.mark.parametrize(("compat", "per_step"), [(None, 1), ("a1111", 2)])
def test_as_in_a1111_a_second_order_step_counts_twice(model, compat, per_step):
    found = given(model, "[house:boat:3]", steps=4, sampler="heun", compat=compat)
    assert len(found.by_step) == 4 * per_step
    house, boat = found.by_step[0], found.by_step[-1]
    moments = [(step, evaluation) for step in range(4) for evaluation in (0, 1)]
    seen = [at(found, step, 4, e) is house for step, e in moments]
    # Step 3 is the third step, or the first evaluation of the second.
    assert seen == [True] * (6 if compat is None else 3) + [False] * (
        2 if compat is None else 5
    )
    assert at(found, 3, 4, 1) is boat


def test_a_negative_prompt_may_change_too_and_AND_is_a_word_in_it(model):
    found = given(model, "a house", negative_prompt="[snow:] AND moon", steps=2)
    assert found.weights is None
    changing = given(model, "a house", negative_prompt="[snow:sea:1]", steps=2)
    assert not torch.equal(changing.by_step[0].uncond, changing.by_step[1].uncond)
    assert torch.equal(changing.by_step[0].cond, changing.by_step[1].cond)
    unguided = given(model, "a house", negative_prompt="[snow:sea:1]", guidance_scale=1)
    assert unguided.uncond is None


def test_AND_gives_each_image_its_texts_with_their_weights(model):
    prompts = ["a house :0.25 AND a boat :0.75", "a cat"]
    found = given(model, prompts, guidance_scale=1)
    assert found.weights.tolist() == [[0.25, 1.0], [0.75, 0.0]]
    assert len(found) == 2 and len(found.cond) == 4
    assert not found.needs_uncond and found.uncond is None
    torch.testing.assert_close(found.cond[0], cond(model, "a house "))
    torch.testing.assert_close(found.cond[2], cond(model, " a boat "))


def test_at_guidance_1_weights_that_do_not_add_up_to_1_need_the_negative_prompt(model):
    found = given(model, "a house AND a boat", guidance_scale=1)
    assert found.needs_uncond and found.uncond is not None


def test_two_halves_of_one_prompt_are_that_prompt(model):
    settings = {"steps": 2, "progress": False, "guidance_scale": 3.0}
    (plain,) = txt2img(model, "a house", **settings)
    (halves,) = txt2img(model, "a house:0.5 AND a house:0.5", **settings)
    assert np.abs(np.asarray(plain, int) - np.asarray(halves, int)).max() <= 1


def test_a_weight_without_AND_is_text(model):
    assert given(model, "a house in 16:9", guidance_scale=1).weights is None


def test_attention_to_tokens_that_are_all_repeated_is_attention_to_them_once(model):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 4, 4, generator=draw)
    t = torch.tensor([500.0])
    c = model.encode_prompt("a house")
    torch.testing.assert_close(
        model(x, t, c), model(x, t, c.repeat(1, 3, 1)), atol=1e-5, rtol=1e-4
    )


def test_lengths_become_one_by_repetition_or_where_that_is_long_by_empty_chunks():
    empty = torch.zeros(4, 2)
    two, three = torch.ones(8, 2), torch.full((12, 2), 2.0)
    a, b = same_length([two, three], empty)
    assert a.shape == b.shape == (24, 2) and torch.equal(a, two.repeat(3, 1))
    seven, thirteen = torch.ones(28, 2), torch.ones(52, 2)  # together 91 chunks
    a, b = same_length([seven, thirteen], empty)
    assert torch.equal(b, thirteen)
    assert torch.equal(a, torch.cat([seven, *[empty] * 6]))


def test_a_long_prompt_beside_it_does_not_change_a_picture(model):
    settings = {"steps": 2, "progress": False, "guidance_scale": 3.0}
    (alone,) = txt2img(model, "a house", **settings)
    with_long, _ = txt2img(model, ["a house", "a boat BREAK at night"], **settings)
    assert np.abs(np.asarray(alone, int) - np.asarray(with_long, int)).max() <= 1


def test_a_network_in_a_prompt_that_is_not_there_is_one_line(model):
    with pytest.raises(PromptError, match=r"<lora:style> names a network that is not there"):
        given(model, "a house <lora:style:0.8>")
    assert given(model, "a house <lora:style:0.8>", emphasis="none").weights is None


@pytest.mark.parametrize("emphasis", ["a1111", "no_norm", "comfy", "ignore", "none"])
def test_marks_have_an_effect_only_where_they_are_read(model, emphasis):
    plain, marked = (cond(model, p, emphasis=emphasis) for p in ("a house", "a (house:1.4)"))
    text_is_read = emphasis == "none"  # with its brackets
    assert torch.equal(plain, marked) == (emphasis == "ignore")
    if text_is_read:
        assert torch.equal(marked, model.encode_prompt("a (house:1.4)")[0])
