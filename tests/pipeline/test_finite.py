import pytest

from labml_sd.errors import GenerationError
from labml_sd.pipeline import img2img

QUICK = {"steps": 2, "progress": False}


@pytest.mark.holds("fact: finite")
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name, message",
    [
        ("text_encoder.transformer.final_layer_norm.bias", "the text encoder gave NaN or Inf"),
        ("autoencoder.quant_conv.bias", 'stage "encode" gave NaN'),
        ("unet.out.2.bias", "the U-Net's eps holds NaN or Inf at step index 0"),
        ("autoencoder.post_quant_conv.bias", 'stage "decode" gave NaN'),
    ],
)
def test_damaged_weights_are_one_line_that_names_the_stage(
    make_model, photo, name, message, fast, value
):
    model = make_model()
    model.fast = fast
    model.get_parameter(name)[0] = value
    with pytest.raises(GenerationError, match=message) as error:
        img2img(model, "a house", photo(32, 32), **QUICK)
    assert "\n" not in str(error.value)


def test_damage_is_found_without_a_step_too(make_model, photo):
    model = make_model()
    model.autoencoder.quant_conv.bias[0] = float("nan")
    with pytest.raises(GenerationError, match='"encode"'):
        img2img(model, "a house", photo(32, 32), strength=0, **QUICK)
