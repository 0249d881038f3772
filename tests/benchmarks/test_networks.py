from networks import roads

from labml_sd.checkpoint import load_model


def test_both_roads_are_of_the_same_weights_and_only_one_is_fast():
    model = load_model(device="cpu", fast=True)
    assert roads(model, plain=False) == {"ours": model}
    ours, plain = roads(model, plain=True).values()
    assert (ours.fast, plain.fast) == (True, False)
    assert ours.unet is plain.unet and ours.autoencoder is plain.autoencoder
    assert ours.text_encoder is plain.text_encoder
